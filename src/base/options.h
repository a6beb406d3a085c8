/*
 * options.h - one declarative table a command: it drives parsing, --help and the man page.
 *
 * A command fills a struct of its own with defaults, and the table says which field each option sets:
 *
 *     typedef struct { const char *sort; uint64_t rows; bool csv; } table_options;
 *     static const hl_option options[] = {
 *         {.name = "sort", .kind = HL_OPTION_TEXT, .value = "KEY", .help = "order of the rows", HL_SETS(table_options, sort)},
 *         {.name = "rows", .letter = 'n', .kind = HL_OPTION_NUMBER, .value = "N", .help = "..", HL_SETS(table_options, rows)},
 *         {.name = "csv", .kind = HL_OPTION_FLAG, .help = "..", HL_SETS(table_options, csv)},
 *         {0},
 *     };
 *     static const hl_syntax syntax = {.name = "table", .usage = "[options] PROFILE", .summary = "..", .options = options};
 *     table_options o = {.sort = "bytes", .rows = 20};
 *     int status = hl_options_parse(&syntax, &argc, argv, &o);
 *     if (status >= 0) return status;
 *     -> argv[0 .. argc-1] are the operands, argv[argc] is null
 *
 * Forms understood: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, -abc for flags, `--` ends the options. -h and --help are
 * always there. Options may stand behind operands, unless the syntax says `operands_end_options`.
 */
#ifndef HL_BASE_OPTIONS_H
#define HL_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef enum hl_option_kind {
    HL_OPTION_FLAG = 1,        /* bool: true */
    HL_OPTION_TEXT,            /* const char *: into argv */
    HL_OPTION_NUMBER,          /* uint64_t: decimal */
    HL_OPTION_OPTIONAL_NUMBER, /* uint64_t: --name or --name=N; without a number: `absent` */
    HL_OPTION_CHOICE,          /* unsigned: index into `choices` */
    HL_OPTION_DURATION,        /* uint64_t, nanoseconds: 10ms, 1.5s, 2m; a bare number is seconds */
    HL_OPTION_SIZE,            /* uint64_t, bytes: 10MB, 4KiB, 512 */
    HL_OPTION_LIST,            /* hl_option_list: may be given several times */
} hl_option_kind;

typedef struct hl_option_list {
    const char **at; /* from malloc, pointing into argv */
    size_t n;
} hl_option_list;

typedef struct hl_option {
    const char *name; /* without dashes; null ends the table */
    char letter;      /* 0: none */
    hl_option_kind kind;
    const char *value;          /* how --help calls the value: "FILE" */
    const char *help;           /* a sentence without a full stop */
    const char *const *choices; /* null-terminated, for HL_OPTION_CHOICE */
    uint64_t absent;            /* for HL_OPTION_OPTIONAL_NUMBER */
    uint64_t least, most;       /* bounds of numbers, durations and sizes; most 0: none */
    bool ends_options;          /* everything behind it (and its value) is an operand: run's -m and -c */
    bool hidden;                /* not in --help */
    size_t offset;
} hl_option;
#define HL_SETS(type, field) .offset = offsetof(type, field)

typedef struct hl_syntax {
    const char *name;        /* of the command */
    const char *usage;       /* what follows the name; several forms stand on lines of their own */
    const char *summary;     /* one sentence */
    const char *description; /* paragraphs below it, wrapped by hand at 80; null: none */
    const hl_option *options;
    bool operands_end_options;
    const char *others_letters; /* options of a program that is started, which come behind its name; null: none */
    const char *others_place;   /* what is said to whoever gives one here */
    int usage_status;           /* exit status of a mistake; 0: HL_EXIT_USAGE */
} hl_syntax;

/* Parses argv[1 ..], sets fields of `into`, moves the operands to argv[0 ..], sets *argc to their number. Returns -1 to go
 * on, else the status to exit with: --help was printed, or a mistake was, on stderr. */
int hl_options_parse(const hl_syntax *syntax, int *argc, char **argv, void *into);

/* After parsing, for operands that do not fit: prints "heapline table: <message>" and where help is; returns the status. */
int hl_options_mistake(const hl_syntax *syntax, const char *format, ...) __attribute__((format(printf, 2, 3)));

void hl_options_help(const hl_syntax *syntax, FILE *to);

/* Values by themselves: 0, or -EINVAL, -ERANGE. */
int hl_parse_number(const char *text, uint64_t *value);
int hl_parse_duration(const char *text, uint64_t *ns);
int hl_parse_size(const char *text, uint64_t *bytes);

#endif
