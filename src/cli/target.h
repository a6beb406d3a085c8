/*
 * target.h - what `heapline run` runs: the words behind its options become a command line that can be executed.
 */
#ifndef HL_CLI_TARGET_H
#define HL_CLI_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct hl_target {
    char path[PATH_MAX]; /* the executable */
    char **argv;         /* from malloc, null-terminated; the words point into what was given */
    bool any;            /* an executable of any kind (behind `--`), not a Python */
    const char *stem;    /* for the profile's name: app of app.py */
    char stem_room[256];
    char command[2048]; /* the target as the user typed it, quoted where needed */
} hl_target;

typedef struct hl_target_words {
    const char *called_as; /* argv[0] of heapline, for the Python beside it */
    const char *python;    /* --python, or null */
    const char *module;    /* -m, or null */
    const char *code;      /* -c, or null */
    bool any;              /* `--` stood in front of the words */
    char **words;          /* the rest */
    int n;
} hl_target_words;

/* 0, or the exit status after a message: HL_EXIT_NOT_FOUND, HL_EXIT_NOT_EXECUTABLE, HL_EXIT_OURS. */
int hl_target_find(hl_target *target, const hl_target_words *words);

#endif
