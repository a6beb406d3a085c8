/* `heapline merge`: docs/heapline-merge.md. */
#include "cli.h"
#include "number.h"
#include "out.h"
#include "output.h"
#include "profile.h"
#include "registry.h"
#include "report.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct merge_options {
    const char *output;
    bool force, quiet;
    unsigned align;
    hl_option_list labels;
} merge_options;

/* "key=value" words as key, value, key, value .. null; in one allocation. */
static const char **split_labels(const hl_syntax *syntax, const hl_option_list *labels, int *status)
{
    size_t bytes = 0;
    for (size_t i = 0; i < labels->n; i++) {
        const char *equals = strchr(labels->at[i], '=');
        if (!equals || equals == labels->at[i]) {
            *status = hl_options_mistake(syntax, "--label %s: this is not KEY=VALUE", labels->at[i]);
            return NULL;
        }
        bytes += strlen(labels->at[i]) + 1;
    }
    const char **words = calloc(1, (2 * labels->n + 1) * sizeof *words + bytes);
    if (!words) {
        *status = hl_options_mistake(syntax, "%s", hl_error_text(ENOMEM));
        return NULL;
    }
    char *at = (char *)(words + 2 * labels->n + 1);
    for (size_t i = 0; i < labels->n; i++) {
        strcpy(at, labels->at[i]);
        words[2 * i] = at;
        at = strchr(at, '=');
        *at++ = '\0';
        words[2 * i + 1] = at;
        at += strlen(at) + 1;
    }
    return words;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

/* The ends of the paths, as long as no two files have the same one: "a/0.heapline", "b/0.heapline". */
static void name_inputs(hl_merge_input *inputs, char **paths, size_t n)
{
    bool same = false;
    for (size_t i = 0; i < n; i++)
        inputs[i].name = base_of(paths[i]);
    for (size_t i = 0; i < n && n <= 4096 && !same; i++)
        for (size_t k = 0; k < i && !same; k++)
            same = strcmp(inputs[i].name, inputs[k].name) == 0;
    for (size_t i = 0; i < n && same; i++)
        inputs[i].name = paths[i];
}

/* "heapline: OUT: 3 profiles merged (1.23 MB)"; on stderr, like what run says at its end. */
static void say_done(const char *path, size_t n)
{
    struct stat file;
    char size[HL_NUMBER_BYTES];
    if (stat(path, &file) == 0)
        hl_error("%s: %zu profiles merged (%s; see: heapline processes)", path, n, hl_size_text(size, file.st_size));
}

static int merge(const merge_options *o, char output[PATH_MAX], char **paths, size_t n, const char *const *labels)
{
    char why[1024] = "";
    int error = 0, status = HL_EXIT_OK;
    hl_merge_input *inputs = calloc(n, sizeof *inputs);
    if (!inputs) {
        hl_error("%s", hl_error_text(ENOMEM));
        return HL_EXIT_NOT_A_PROFILE;
    }
    name_inputs(inputs, paths, n);
    for (size_t i = 0; i < n && !error; i++) {
        error = hl_profile_open(&inputs[i].profile, paths[i], why, sizeof why);
        if (error)
            hl_report_complain(paths[i], why);
    }
    if (error) {
        status = HL_EXIT_NOT_A_PROFILE;
    } else if ((error = hl_profile_merge(output, inputs, n, o->align == 0, labels, why, sizeof why))) {
        hl_error("merge: %s", why);
        status = error == -EEXIST ? HL_EXIT_USAGE : HL_EXIT_NOT_A_PROFILE;
    } else if (!o->quiet) {
        say_done(output, n);
    }
    for (size_t i = 0; i < n; i++)
        hl_profile_close(inputs[i].profile);
    free(inputs);
    return status;
}

int hl_cmd_merge(int argc, char **argv)
{
    static const char *const alignments[] = {"clock", "start", NULL};
    static const hl_option options[] = {
        {.name = "output",
         .letter = 'o',
         .kind = HL_OPTION_TEXT,
         .value = "FILE",
         .help = "where the merged profile goes",
         HL_SETS(merge_options, output)},
        {.name = "force",
         .letter = 'f',
         .kind = HL_OPTION_FLAG,
         .help = "overwrite the file if it exists",
         HL_SETS(merge_options, force)},
        {.name = "label",
         .kind = HL_OPTION_LIST,
         .value = "KEY=VALUE",
         .help = "a label of the whole; those of each recording are kept anyway",
         HL_SETS(merge_options, labels)},
        {.name = "align",
         .kind = HL_OPTION_CHOICE,
         .value = "HOW",
         .choices = alignments,
         .help =
             "recordings on one time line: by the clocks of their machines (default), or as if all had started at once",
         HL_SETS(merge_options, align)},
        {.name = "quiet",
         .letter = 'q',
         .kind = HL_OPTION_FLAG,
         .help = "say nothing when it worked",
         HL_SETS(merge_options, quiet)},
        {0},
    };
    static const hl_syntax syntax = {
        .name = "merge",
        .usage = "[options] -o FILE PROFILE PROFILE ..",
        .summary = "Joins the profiles of several processes, ranks or machines into one, for every report.",
        .options = options};
    merge_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status < 0 && argc < 2)
        status = hl_options_mistake(&syntax, "which profiles? (name at least two)");
    if (status < 0 && !o.output)
        status = hl_options_mistake(&syntax, "where to? (-o FILE)");
    const char **labels = status < 0 ? split_labels(&syntax, &o.labels, &status) : NULL;
    char output[PATH_MAX], why[512];
    for (int i = 0; i < argc && status < 0; i++)
        if (hl_is_same_file(argv[i], o.output))
            status =
                hl_options_mistake(&syntax, "%s: is one of the profiles to be merged (-o names another)", o.output);
    if (status < 0) {
        int error = hl_output_expand(o.output, "merged", getpid(), output);
        if (error == -EINVAL)
            status = hl_options_mistake(&syntax, "-o %s: %% stands only before p, h, r and %%", o.output);
        else if (error || (error = hl_output_check(output, o.force, why, sizeof why))) {
            hl_report_complain(o.output, error == -ENAMETOOLONG ? "the name is too long" : why);
            status = HL_EXIT_USAGE;
        }
    }
    if (status < 0)
        status = merge(&o, output, argv, (size_t)argc, labels);
    free(labels);
    free(o.labels.at);
    return status;
}
