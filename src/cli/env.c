/*
 * env.c - `heapline env`: the variables that start a recording with no parent command, for job schedulers and containers.
 *
 * The first process with Python in it starts the collector (tracker/start.c), which runs `heapline collect` with the words
 * of HEAPLINE_OPTIONS.
 */
#include "cli.h"

#include "install.h"
#include "recorder.h"
#include "target.h"
#include "wire.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct env_options {
    hl_record_options record;
} env_options;

static const hl_option options[] = {
    HL_RECORD_OPTIONS(env_options),
    {.name = "verbose",
     .letter = 'v',
     .kind = HL_OPTION_FLAG,
     .help = "let the collector speak on the program's stderr",
     HL_SETS(env_options, record.verbose)},
    {0},
};

static const hl_syntax syntax = {
    .name = "env",
    .usage = "[options]",
    .summary = "Prints shell lines that make what is started afterwards record itself.",
    .description = "    eval \"$(heapline env -o job-%r.%p.heapline)\"\n    srun python app.py\n\n"
                   "Each Python program that is then started outside a recording begins one of its own, with all\n"
                   "its child processes. Without %p or %r in the name, only the first finds it free.",
    .options = options,
};

static void print_variable(const char *name, const char *value, const char *behind)
{
    char quoted[8192];
    hl_join_words(quoted, sizeof quoted, (char *[]){(char *)value, NULL});
    printf("export %s=%s%s\n", name, quoted, behind);
}

static size_t add(char **words, size_t n, const char *name, const char *value)
{
    char *word = malloc(strlen(name) + strlen(value) + 1);
    if (word == NULL)
        return n;
    strcat(strcpy(word, name), value);
    words[n] = word;
    return n + 1;
}

int hl_cmd_env(int argc, char **argv)
{
    env_options o = {.record = {.children = HL_CHILDREN_PYTHON, .interval_ns = 10000000}};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (argc > 0)
        return hl_options_mistake(&syntax, "%s: takes no operand (to run a program: heapline run)", argv[0]);
    const char *label = hl_record_bad_label(&o.record);
    if (label != NULL)
        return hl_options_mistake(&syntax, "--label %s: this is not KEY=VALUE", label);
    const char *bad_lines = hl_record_bad_lines(&o.record);
    if (bad_lines != NULL)
        return hl_options_mistake(&syntax, "%s", bad_lines);
    hl_install install;
    int error = hl_install_find(&install);
    if (error) {
        hl_error("the recorder's library, libheapline.so, is not beside %s: %s (install heapline again)",
                 install.binary, hl_error_text(error));
        return HL_EXIT_USAGE;
    }

    char **words = calloc(o.record.labels.n + o.record.lines.n + 11, sizeof *words), text[64], all[8192];
    if (words == NULL)
        return HL_EXIT_USAGE;
    size_t n = 0;
    if (o.record.output != NULL) { /* what is relative is meant from here */
        char here[PATH_MAX] = "", whole[2 * PATH_MAX];
        if (o.record.output[0] != '/' && getcwd(here, sizeof here - 1) != NULL)
            strcat(here, "/");
        snprintf(whole, sizeof whole, "%s%s", here, o.record.output);
        n = add(words, n, "--output=", whole);
    }
    if (o.record.force)
        n = add(words, n, "--force", "");
    if (o.record.native)
        n = add(words, n, "--native", "");
    if (o.record.debuginfod)
        n = add(words, n, "--debuginfod", "");
    if (o.record.malloc_only)
        n = add(words, n, "--malloc-only", "");
    if (o.record.no_source)
        n = add(words, n, "--no-source", "");
    if (o.record.verbose)
        n = add(words, n, "--verbose", "");
    n = add(words, n, "--children=", hl_children_names[o.record.children]);
    snprintf(text, sizeof text, "%lluns", (unsigned long long)o.record.interval_ns);
    n = add(words, n, "--interval=", text);
    for (size_t i = 0; i < o.record.labels.n; i++)
        n = add(words, n, "--label=", o.record.labels.at[i]);
    for (size_t i = 0; i < o.record.lines.n; i++)
        n = add(words, n, "--lines=", o.record.lines.at[i]);
    if (o.record.line_rss)
        n = add(words, n, "--line-rss", "");
    hl_join_words(all, sizeof all, words);
    for (size_t i = 0; i < n; i++)
        free(words[i]);
    free(words);
    free(o.record.labels.at);
    free(o.record.lines.at);

    print_variable("LD_PRELOAD", install.tracker, "\"${LD_PRELOAD:+:$LD_PRELOAD}\"");
    print_variable(HL_ENV_START, install.binary, "");
    print_variable(HL_ENV_OPTIONS, all, "");
    return fflush(stdout) == 0 || errno == EPIPE ? HL_EXIT_OK : HL_EXIT_USAGE;
}
