/*
 * collect.c - `heapline collect`, internal: what a program started with the variables of `heapline env` starts in turn.
 *
 * Called by the tracker (tracker/start.c) before the program's main, as a process that is no child of the program. Makes
 * the session, starts the collector, writes the session's locator to a descriptor, and ends; the collector goes on. On
 * failure it says one line and writes nothing: the program runs unrecorded. With --inside the program itself has asked
 * (heapline.start()), and gets the line through the descriptor, behind a "!".
 */
#include "cli.h"

#include "foreground.h"
#include "install.h"
#include "output.h"
#include "recorder.h"
#include "registry.h"
#include "symbols.h"
#include "target.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct collect_options {
    hl_record_options record;
    uint64_t program, ready_fd;
    bool inside;
} collect_options;

static const hl_option options[] = {
    HL_RECORD_OPTIONS(collect_options),
    {.name = "verbose", .letter = 'v', .kind = HL_OPTION_FLAG, .help = "", HL_SETS(collect_options, record.verbose)},
    {.name = "program", .kind = HL_OPTION_NUMBER, .value = "PID", .help = "", HL_SETS(collect_options, program)},
    {.name = "ready-fd", .kind = HL_OPTION_NUMBER, .value = "N", .help = "", HL_SETS(collect_options, ready_fd)},
    {.name = "inside", .kind = HL_OPTION_FLAG, .help = "", HL_SETS(collect_options, inside)},
    {.name = "discard", .kind = HL_OPTION_FLAG, .help = "", HL_SETS(collect_options, record.discard)},
    {0},
};

static const hl_syntax syntax = {
    .name = "collect",
    .usage = "--program PID --ready-fd N [options]",
    .summary = "Internal: collects for a program that was started with the variables of `heapline env`.",
    .options = options,
    .usage_status = HL_EXIT_OURS,
};

enum { WORDS_MOST = 4096, LINE_BYTES = 65536 };

typedef struct command_line {
    char text[LINE_BYTES];
    char *words[WORDS_MOST + 1];
} command_line;

static int read_command_line(command_line *c, pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t bytes = read(fd, c->text, sizeof c->text - 1);
    close(fd);
    if (bytes <= 0)
        return -ESRCH;
    c->text[bytes] = '\0';
    size_t n = 0;
    for (ssize_t at = 0; at < bytes && n < WORDS_MOST; at += (ssize_t)strlen(c->text + at) + 1)
        c->words[n++] = c->text + at;
    c->words[n] = NULL;
    return 0;
}

/* The first word that is the program and not the interpreter or an option of it, and what the profile is called after. */
static char **find_program(char **words, char *stem, size_t bytes)
{
    const char *name = words[0], *slash = strrchr(words[0], '/');
    if (slash != NULL)
        name = slash + 1;
    char **program = words;
    if (strncmp(name, "python", 6) == 0) {
        char **w = words + 1;
        while (*w != NULL && (*w)[0] == '-' && (*w)[1] != '\0' && (*w)[1] != 'm' && (*w)[1] != 'c')
            w += ((*w)[1] == 'X' || (*w)[1] == 'W') && (*w)[2] == '\0' && w[1] != NULL ? 2 : 1;
        if (*w != NULL) {
            program = w;
            bool module = strncmp(*w, "-m", 2) == 0;
            name = module ? ((*w)[2] != '\0' ? *w + 2 : w[1]) : (*w)[0] == '-' ? "python" : *w;
            if (name == NULL)
                name = "python";
        }
    }
    slash = strrchr(name, '/');
    snprintf(stem, bytes, "%s", slash != NULL && slash[1] != '\0' ? slash + 1 : name);
    size_t letters = strlen(stem);
    if (letters > 3 && strcmp(stem + letters - 3, ".py") == 0)
        stem[letters - 3] = '\0';
    return program;
}

static int refuse(const collect_options *o, const char *what, const char *why)
{
    if (!o->inside) {
        hl_error("%s: %s: this program is not recorded", what, why);
        return HL_EXIT_OURS;
    }
    char line[1000];
    int n = snprintf(line, sizeof line - 1, "!%s: %s", what, why);
    n = n < (int)sizeof line - 1 ? n : (int)sizeof line - 2;
    line[n] = '\n';
    return write((int)o->ready_fd, line, (size_t)n + 1) == n + 1 ? HL_EXIT_OK : HL_EXIT_OURS;
}

int hl_cmd_collect(int argc, char **argv)
{
    static command_line line;
    collect_options o = {.record = {.children = HL_CHILDREN_PYTHON, .interval_ns = 10000000}};
    char said[4096];
    hl_join_words(said, sizeof said, argv + 1);
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (o.program == 0 || o.program > INT32_MAX || o.ready_fd > INT32_MAX)
        return hl_options_mistake(&syntax, "this command is for heapline itself (to record a program: heapline run)");
    const char *label = hl_record_bad_label(&o.record);
    if (label != NULL)
        return hl_options_mistake(&syntax, "--label %s: this is not KEY=VALUE", label);
    const char *bad_lines = hl_record_bad_lines(&o.record);
    if (bad_lines != NULL)
        return hl_options_mistake(&syntax, "%s", bad_lines);
    const char *without = o.record.debuginfod ? hl_symbols_no_servers() : NULL;
    if (without != NULL)
        hl_error("--debuginfod: %s: recorded without", without);
    pid_t program = (pid_t)o.program;
    int ready = (int)o.ready_fd;
    fcntl(ready, F_SETFD, FD_CLOEXEC);

    int error = read_command_line(&line, program);
    if (error)
        return refuse(&o, "the program", hl_error_text(error));
    char stem[256], output[PATH_MAX], why[512], command[2048];
    hl_join_words(command, sizeof command, find_program(line.words, stem, sizeof stem));
    error = hl_output_expand(o.record.output, stem, program, output);
    if (error)
        return refuse(&o, o.record.output != NULL ? o.record.output : "the profile's name",
                      error == -EINVAL ? "unknown % in the name" : hl_error_text(error));
    for (int number = 2; o.inside && o.record.output == NULL && access(output, F_OK) == 0 && number < 100000;
         number++) {
        char numbered[sizeof stem + 16]; /* a program may record itself several times */
        snprintf(numbered, sizeof numbered, "%s-%d", stem, number);
        error = hl_output_expand(NULL, numbered, program, output);
        if (error)
            return refuse(&o, "the profile's name", hl_error_text(error));
    }
    int lock = hl_output_can_clash(o.record.output) ? hl_registry_lock() : -1; /* until this recording is in the list */
    if (hl_output_check(output, o.record.force, why, sizeof why) != 0)
        return refuse(&o, output, why);

    hl_install install;
    hl_recorder recorder;
    hl_signals before;
    hl_foreground_begin(&before);
    error = hl_install_find(&install);
    error =
        error ? error : hl_recorder_create(&recorder, &o.record, install.tracker, o.record.children == HL_CHILDREN_ALL);
    if (error)
        return refuse(&o, "heapline", hl_error_text(error));
    hl_recording_of what = {.output = output, .command = command, .options = said, .program = program};
    error = hl_recorder_start(&recorder, &o.record, &what);
    hl_registry_unlock(lock);
    if (error)
        return refuse(&o, output, hl_error_text(error));
    free(o.record.labels.at);
    free(o.record.lines.at);
    char locator[sizeof recorder.session->locator + PATH_MAX + 2];
    int n = snprintf(locator, sizeof locator, o.inside ? "%s %s\n" : "%s\n", recorder.session->locator, output);
    return write(ready, locator, (size_t)n) == n ? HL_EXIT_OK : HL_EXIT_OURS;
}
