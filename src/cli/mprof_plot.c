/*
 * mprof_plot.c - `heapline mprof plot`: .dat files into a picture: SVG by plot.c; anything else by matplotlib, when asked for.
 */
#include "cli.h"

#include "install.h"
#include "mprof.h"
#include "mprof_verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct plot_options {
    const char *title, *output, *window, *backend;
    bool no_calls, flame, slope;
} plot_options;

static const hl_option options[] = {
    {.name = "title",
     .letter = 't',
     .kind = HL_OPTION_TEXT,
     .value = "TEXT",
     .help = "above the picture (default: the command line)",
     HL_SETS(plot_options, title)},
    {.name = "no-function-ts",
     .letter = 'n',
     .kind = HL_OPTION_FLAG,
     .help = "without marks of functions",
     HL_SETS(plot_options, no_calls)},
    {.name = "output",
     .letter = 'o',
     .kind = HL_OPTION_TEXT,
     .value = "FILE",
     .help =
         "where the picture goes, - is stdout (default: the name of the .dat file with .svg); names that end otherwise "
         "than in .svg need matplotlib",
     HL_SETS(plot_options, output)},
    {.name = "window",
     .letter = 'w',
     .kind = HL_OPTION_TEXT,
     .value = "FROM,UNTIL",
     .help = "only these seconds since the first sample",
     HL_SETS(plot_options, window)},
    {.name = "flame",
     .letter = 'f',
     .kind = HL_OPTION_FLAG,
     .help = "calls as rectangles, by depth, instead of brackets",
     HL_SETS(plot_options, flame)},
    {.name = "slope",
     .letter = 's',
     .kind = HL_OPTION_FLAG,
     .help = "the trend of each curve as a line and in MiB a second",
     HL_SETS(plot_options, slope)},
    {.name = "backend",
     .kind = HL_OPTION_TEXT,
     .value = "NAME",
     .help = "draw with this backend of matplotlib, in a window when there is no --output",
     HL_SETS(plot_options, backend)},
    {0},
};

static const hl_syntax syntax = {
    .name = "mprof plot",
    .usage = "[options] [INDEX|FILE ..]",
    .summary = "Draws files of `mprof run` into one picture: the newest when none is named.",
    .options = options,
};

static bool parse_window(const char *text, hl_plot_options *to)
{
    char *end;
    to->from_s = strtod(text, &end);
    if (end == text || *end != ',')
        return false;
    const char *second = end + 1;
    to->until_s = strtod(second, &end);
    to->has_window = true;
    return end != second && *end == '\0' && to->from_s < to->until_s;
}

static bool ends_in(const char *name, const char *tail)
{
    size_t n = strlen(name), m = strlen(tail);
    return n >= m && strcasecmp(name + n - m, tail) == 0;
}

/* Does not return when it works: becomes a Python that draws. */
static int by_matplotlib(const plot_options *o, const hl_dat_names *names)
{
    static const char program[] = "import sys\n"
                                  "text = sys.argv.pop(1)\n"
                                  "module = type(sys)('mprof')\n"
                                  "exec(compile(text, '<heapline.compat.mprof>', 'exec'), module.__dict__)\n"
                                  "module._matplotlib_main(sys.argv[1:])";
    char python[PATH_MAX];
    if (hl_python_find(program_invocation_name, python) != 0) {
        hl_error("mprof: no python3 beside heapline or in PATH, which matplotlib would need");
        return HL_EXIT_NOT_FOUND;
    }
    char **words = calloc(names->n + 20, sizeof *words);
    if (words == NULL)
        return HL_EXIT_OURS;
    size_t n = 0;
    words[n++] = python;
    words[n++] = "-c";
    words[n++] = (char *)program;
    words[n++] = (char *)hl_python_files[0].text;
    const char *pairs[][2] = {
        {"--title", o->title}, {"--output", o->output}, {"--window", o->window}, {"--backend", o->backend}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        if (pairs[i][1] != NULL) {
            words[n++] = (char *)pairs[i][0];
            words[n++] = (char *)pairs[i][1];
        }
    }
    if (o->no_calls)
        words[n++] = "--no-function-ts";
    if (o->flame)
        words[n++] = "--flame";
    if (o->slope)
        words[n++] = "--slope";
    words[n++] = "--";
    for (size_t i = 0; i < names->n; i++)
        words[n++] = names->at[i];
    fflush(stdout);
    execv(python, words);
    hl_error("mprof: %s: cannot be executed: %s", python, hl_error_text(errno));
    return HL_EXIT_NOT_EXECUTABLE;
}

static int write_out(hl_out *out, const char *path)
{
    int fd = strcmp(path, "-") == 0 ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int error = fd < 0 ? -errno : hl_out_write(out, fd);
    if (fd > STDERR_FILENO)
        close(fd);
    if (error && error != -EPIPE) {
        hl_error("mprof: %s: cannot be written: %s", path, hl_error_text(error));
        return HL_EXIT_CHECK_FAILED;
    }
    if (fd > STDERR_FILENO)
        printf("%s\n", path);
    return HL_EXIT_OK;
}

/* The picture of `names` into `output`, or beside the last of them. */
static int draw(const hl_dat_names *names, const hl_plot_options *how, const char *output)
{
    hl_dat *dats = calloc(names->n, sizeof *dats);
    int status = dats != NULL ? HL_EXIT_OK : HL_EXIT_OURS;
    for (size_t i = 0; i < names->n && status == HL_EXIT_OK; i++) {
        int error = hl_dat_read(&dats[i], names->at[i]);
        if (error)
            hl_error("mprof: %s: %s", names->at[i], hl_error_text(error));
        else if (dats[i].memory.n == 0)
            hl_error("mprof: %s: no memory usage values have been found in it (is it a file of mprof run?)",
                     names->at[i]);
        if (error || dats[i].memory.n == 0)
            status = HL_EXIT_CHECK_FAILED;
    }
    if (status == HL_EXIT_OK) {
        char beside[PATH_MAX];
        const char *name = names->at[names->n - 1];
        snprintf(beside, sizeof beside, "%.*s.svg", (int)(strlen(name) - (ends_in(name, ".dat") ? 4 : 0)), name);
        hl_out out;
        hl_out_begin(&out, (hl_terminal){.width = 80, .utf8 = true});
        hl_plot_svg(&out, dats, names->n, how);
        status = write_out(&out, output != NULL ? output : beside);
        hl_out_release(&out);
    }
    for (size_t i = 0; i < names->n && dats != NULL; i++)
        hl_dat_release(&dats[i]);
    free(dats);
    return status;
}

int hl_mprof_plot(int argc, char **argv)
{
    plot_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    hl_plot_options how = {.title = o.title, .flame = o.flame, .slope = o.slope};
    if (o.window != NULL && !parse_window(o.window, &how))
        return hl_options_mistake(&syntax, "--window %s: this is not FROM,UNTIL in seconds, such as 0,20.5", o.window);
    hl_dat_names names;
    bool to_stdout = o.output != NULL && strcmp(o.output, "-") == 0;
    if (!hl_dat_names_of(&names, argv, argc, to_stdout ? stderr : stdout))
        return HL_EXIT_CHECK_FAILED;
    how.calls = names.n == 1 && !o.no_calls;
    bool svg = o.output == NULL || to_stdout || ends_in(o.output, ".svg");
    status = o.backend != NULL || !svg ? by_matplotlib(&o, &names) : draw(&names, &how, o.output);
    hl_dat_names_release(&names);
    if (fflush(stdout) != 0 && errno != EPIPE) {
        hl_error("cannot write: %s", hl_error_text(errno));
        return HL_EXIT_USAGE;
    }
    return status;
}
