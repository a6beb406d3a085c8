/*
 * main.c - the `heapline` program: finds the subcommand and runs it.
 */
#include "cli.h"
#include "suggest.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { COMMANDS_MAX = 64 };

static const hl_command *find(const char *name)
{
    for (const hl_command *c = hl_commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
    }
    return NULL;
}

static void print_help(FILE *to)
{
    fprintf(to, "usage: heapline COMMAND [options] ..\n\n"
                "Tells which line of a program, in Python or C, took, holds and gave back every byte of memory.\n");
    const char *group = NULL;
    for (const hl_command *c = hl_commands; c->name != NULL; c++) {
        if (c->group == NULL)
            continue;
        if (group == NULL || strcmp(group, c->group) != 0)
            fprintf(to, "\n%s:\n", c->group);
        group = c->group;
        fprintf(to, "  %-13s %s\n", c->name, c->summary);
    }
    fprintf(to, "\nStart with:\n"
                "  heapline run app.py          run a script and record it\n"
                "  heapline help COMMAND        all options of a command\n"
                "  heapline --version\n");
}

static int unknown(const char *word)
{
    const char *names[COMMANDS_MAX];
    size_t n = 0;
    for (const hl_command *c = hl_commands; c->name != NULL && n < COMMANDS_MAX - 2; c++) {
        if (c->group != NULL)
            names[n++] = c->name;
    }
    names[n++] = "help";
    names[n] = NULL;
    const char *meant = hl_suggest(word, names);
    size_t letters = strlen(word);
    if (meant != NULL)
        hl_error("%s: no such command, did you mean %s? (see: heapline help)", word, meant);
    else if (letters > 3 && strcmp(word + letters - 3, ".py") == 0)
        hl_error("%s: no such command (to record a script: heapline run %s)", word, word);
    else
        hl_error("%s: no such command (see: heapline help)", word);
    return HL_EXIT_USAGE;
}

static int flushed(int status)
{
    if (fflush(stdout) == 0 || errno == EPIPE) /* the reader has seen enough */
        return status;
    hl_error("cannot write: %s", hl_error_text(errno));
    return HL_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        print_help(stderr);
        return HL_EXIT_USAGE;
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 || strcmp(word, "version") == 0) {
        printf("heapline " HEAPLINE_VERSION "\n");
        return flushed(HL_EXIT_OK);
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || (strcmp(word, "help") == 0 && argc == 2)) {
        print_help(stdout);
        return flushed(HL_EXIT_OK);
    }
    if (strcmp(word, "help") == 0) {
        const hl_command *about = find(argv[2]);
        char *words[] = {argv[2], "--help", NULL};
        return about != NULL ? flushed(about->run(2, words)) : unknown(argv[2]);
    }
    if (word[0] == '-') {
        hl_error("%s: no such option (options of a command follow its name, see: heapline help)", word);
        return HL_EXIT_USAGE;
    }
    const hl_command *command = find(word);
    return command != NULL ? command->run(argc - 1, argv + 1) : unknown(word);
}
