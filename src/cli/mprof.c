/*
 * mprof.c - `heapline mprof`: the verbs of memory_profiler's mprof with the same options, output and files.
 *
 * Here: which verb, and those that only look at files (peak, list, rm, clean). Where the original is known to be wrong, this
 * is not (docs/heapline-mprof.md has the list).
 */
#include "cli.h"

#include "mprof.h"
#include "mprof_verbs.h"
#include "suggest.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------------- names of files */

void hl_dat_names_release(hl_dat_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->at[i]);
    free(names->at);
    *names = (hl_dat_names){0};
}

bool hl_dat_names_add(hl_dat_names *names, const char *name)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->at[i], name) == 0)
            return true;
    }
    char **more = realloc(names->at, (names->n + 1) * sizeof *more);
    if (more == NULL)
        return false;
    names->at = more;
    names->at[names->n] = strdup(name);
    return names->at[names->n] != NULL && ++names->n;
}

enum { DIGITS = 14 };
static const char name_head[] = "mprofile_", name_tail[] = ".dat";

static bool is_ours(const char *name)
{
    size_t head = sizeof name_head - 1;
    if (strlen(name) != head + DIGITS + sizeof name_tail - 1 || strncmp(name, name_head, head) != 0)
        return false;
    return strspn(name + head, "0123456789") == DIGITS && strcmp(name + head + DIGITS, name_tail) == 0;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

int hl_dat_names_here(hl_dat_names *names)
{
    *names = (hl_dat_names){0};
    DIR *folder = opendir(".");
    if (folder == NULL)
        return -errno;
    bool room = true;
    for (struct dirent *entry; room && (entry = readdir(folder)) != NULL;)
        room = !is_ours(entry->d_name) || hl_dat_names_add(names, entry->d_name);
    closedir(folder);
    if (!room) {
        hl_dat_names_release(names);
        return -ENOMEM;
    }
    if (names->n > 1)
        qsort(names->at, names->n, sizeof *names->at, by_name);
    return 0;
}

/* An index as people type it: 0, 12, -1. */
static bool is_index(const char *word, long *index)
{
    size_t sign = *word == '-';
    if (word[sign] == '\0' || word[sign + strspn(word + sign, "0123456789")] != '\0' || strlen(word) > 9)
        return false;
    *index = strtol(word, NULL, 10);
    return true;
}

static bool one_of(hl_dat_names *names, const hl_dat_names *here, const char *word)
{
    struct stat found;
    long index;
    if (stat(word, &found) == 0) {
        if (S_ISDIR(found.st_mode))
            hl_error("mprof: %s: this is a folder, not a .dat file", word);
        return !S_ISDIR(found.st_mode) && hl_dat_names_add(names, word);
    }
    if (!is_index(word, &index)) {
        hl_error("mprof: %s: %s (a file of mprof run, or an index of: heapline mprof list)", word,
                 hl_error_text(errno));
        return false;
    }
    long at = index < 0 ? index + (long)here->n : index;
    if (at < 0 || at >= (long)here->n) {
        hl_error("mprof: %ld: there is no such profile, this folder has %zu (see: heapline mprof list)", index,
                 here->n);
        return false;
    }
    return hl_dat_names_add(names, here->at[at]);
}

bool hl_dat_names_of(hl_dat_names *names, char *const *words, int n, FILE *told)
{
    *names = (hl_dat_names){0};
    hl_dat_names here;
    int error = hl_dat_names_here(&here);
    if (error) {
        hl_error("mprof: cannot read this folder: %s", hl_error_text(error));
        return false;
    }
    bool good = true;
    if (n == 0 && here.n == 0) {
        hl_error("mprof: no input file found (this looks for mprofile_*.dat files of: heapline mprof run)");
        good = false;
    } else if (n == 0) {
        fprintf(told, "Using last profile data.\n");
        fflush(told);
        good = hl_dat_names_add(names, here.at[here.n - 1]);
    }
    for (int i = 0; i < n && good; i++)
        good = one_of(names, &here, words[i]);
    hl_dat_names_release(&here);
    if (!good)
        hl_dat_names_release(names);
    return good;
}

/* ------------------------------------------------------------------------------------------------------------- verbs */

static int written(int status)
{
    if (fflush(stdout) == 0 || errno == EPIPE)
        return status;
    hl_error("cannot write: %s", hl_error_text(errno));
    return HL_EXIT_USAGE;
}

static int list(int argc, char **argv)
{
    static const hl_option options[] = {{0}};
    static const hl_syntax syntax = {
        .name = "mprof list",
        .usage = "[options]",
        .summary = "Lists the files of `mprof run` in this folder, with their indices, oldest first.",
        .options = options,
    };
    char none;
    int status = hl_options_parse(&syntax, &argc, argv, &none);
    if (status >= 0)
        return status;
    if (argc > 0)
        return hl_options_mistake(&syntax, "%s: takes no operand", argv[0]);
    hl_dat_names names;
    int error = hl_dat_names_here(&names);
    if (error) {
        hl_error("mprof: cannot read this folder: %s", hl_error_text(error));
        return HL_EXIT_CHECK_FAILED;
    }
    for (size_t i = 0; i < names.n; i++) {
        const char *t = names.at[i] + sizeof name_head - 1; /* YYYYmmddHHMMSS */
        printf("%zu %s %.2s:%.2s:%.2s %.2s/%.2s/%.4s\n", i, names.at[i], t + 8, t + 10, t + 12, t + 6, t + 4, t);
    }
    hl_dat_names_release(&names);
    return written(HL_EXIT_OK);
}

typedef struct remove_options {
    bool dry_run;
} remove_options;

static const hl_option remove_table[] = {
    {.name = "dry-run",
     .kind = HL_OPTION_FLAG,
     .help = "show what would be removed, and leave it",
     HL_SETS(remove_options, dry_run)},
    {0},
};

static int remove_all(hl_dat_names *names, bool dry_run)
{
    int status = HL_EXIT_OK;
    if (dry_run)
        printf("Files to be removed: \n");
    for (size_t i = 0; i < names->n; i++) {
        if (dry_run)
            printf("%s\n", names->at[i]);
        else if (unlink(names->at[i]) != 0) {
            hl_error("mprof: %s: cannot be removed: %s", names->at[i], hl_error_text(errno));
            status = HL_EXIT_CHECK_FAILED;
        }
    }
    hl_dat_names_release(names);
    return written(status);
}

static int rm(int argc, char **argv)
{
    static const hl_syntax syntax = {
        .name = "mprof rm",
        .usage = "[--dry-run] INDEX|FILE ..",
        .summary =
            "Removes files of `mprof run`; -1 is the newest of this folder. Nothing when one of them is not there.",
        .options = remove_table,
    };
    remove_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (argc == 0)
        return hl_options_mistake(&syntax, "a profile to remove must be given (index or file)");
    hl_dat_names names;
    return hl_dat_names_of(&names, argv, argc, stdout) ? remove_all(&names, o.dry_run) : HL_EXIT_CHECK_FAILED;
}

static int clean(int argc, char **argv)
{
    static const hl_syntax syntax = {
        .name = "mprof clean",
        .usage = "[--dry-run]",
        .summary = "Removes all files of this folder that `mprof run` named (mprofile_ and 14 digits).",
        .options = remove_table,
    };
    remove_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (argc > 0)
        return hl_options_mistake(&syntax, "%s: takes no operand", argv[0]);
    hl_dat_names names;
    int error = hl_dat_names_here(&names);
    if (error == 0)
        return remove_all(&names, o.dry_run);
    hl_error("mprof: cannot read this folder: %s", hl_error_text(error));
    return HL_EXIT_CHECK_FAILED;
}

typedef struct peak_options {
    const char *function;
} peak_options;

static int show_peak(const char *name, const char *function)
{
    hl_dat dat;
    int error = hl_dat_read(&dat, name);
    if (error) {
        hl_error("mprof: %s: %s", name, hl_error_text(error));
        return HL_EXIT_CHECK_FAILED;
    }
    hl_dat_point peak;
    int status = HL_EXIT_OK;
    if (hl_dat_peak(&dat, function, &peak))
        printf("%s\t%.3f MiB\n", name, peak.mib);
    else if (function != NULL)
        printf("%s\tNaN MiB\n", name);
    else {
        hl_error("mprof: %s: there is no figure in it (is it a file of mprof run?)", name);
        status = HL_EXIT_CHECK_FAILED;
    }
    for (size_t i = 0; i < dat.children; i++) {
        if (hl_series_peak(&dat.child[i].series, &peak))
            printf("  Child %lld\t\t\t%.3f MiB\n", (long long)dat.child[i].pid, peak.mib);
    }
    hl_dat_release(&dat);
    return status;
}

static int peak(int argc, char **argv)
{
    static const hl_option options[] = {
        {.name = "func",
         .kind = HL_OPTION_TEXT,
         .value = "NAME",
         .help = "only while this function (module.name) ran, its begin and end among it; NaN when it did not",
         HL_SETS(peak_options, function)},
        {0},
    };
    static const hl_syntax syntax = {
        .name = "mprof peak",
        .usage = "[--func NAME] [INDEX|FILE ..]",
        .summary = "Prints the highest memory of files of `mprof run`: of the newest when none is named.",
        .options = options,
    };
    peak_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    hl_dat_names names;
    if (!hl_dat_names_of(&names, argv, argc, stdout))
        return HL_EXIT_CHECK_FAILED;
    status = HL_EXIT_OK;
    for (size_t i = 0; i < names.n; i++) {
        int one = show_peak(names.at[i], o.function);
        status = one ? one : status;
    }
    hl_dat_names_release(&names);
    return written(status);
}

/* --------------------------------------------------------------------------------------------------------- dispatch */

typedef struct verb {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
    bool indices; /* its operands may be negative numbers */
} verb;

static const verb verbs[] = {
    {"run", "run a program and sample its memory", hl_mprof_run, false},
    {"attach", "sample a process that runs, named by pid or by a part of its name", hl_mprof_attach, false},
    {"plot", "draw the files as SVG", hl_mprof_plot, true},
    {"peak", "the highest memory in a file", peak, true},
    {"list", "list the files of this folder, with indices", list, false},
    {"rm", "remove files", rm, true},
    {"clean", "remove all files of this folder", clean, false},
    {0},
};

static void print_help(FILE *to)
{
    fprintf(to, "usage: heapline mprof VERB [options] ..\n\n"
                "Samples the resident memory of any program over time; verbs, options and .dat files are those of\n"
                "memory_profiler's mprof.\n\n");
    for (const verb *v = verbs; v->name != NULL; v++)
        fprintf(to, "  %-7s %s\n", v->name, v->summary);
    fprintf(to,
            "\nheapline mprof VERB --help has all options of one. Which line of the program took the memory is what\n"
            "`heapline run` records.\n");
}

static int unknown(const char *word)
{
    const char *names[sizeof verbs / sizeof *verbs];
    size_t n = 0;
    for (const verb *v = verbs; v->name != NULL; v++)
        names[n++] = v->name;
    names[n] = NULL;
    const char *meant = hl_suggest(word, names);
    if (meant != NULL)
        hl_error("mprof: %s: no such verb, did you mean %s? (see: heapline mprof --help)", word, meant);
    else
        hl_error("mprof: %s: no such verb (see: heapline mprof --help)", word);
    return HL_EXIT_USAGE;
}

/* Negative indices go to the end, behind `--`, where they are no options. `words` has room for one more. */
static int shield_indices(int argc, char **words)
{
    char *kept[argc];
    int n = 0, indices = 0;
    long index;
    for (int i = 0; i < argc; i++) {
        if (strcmp(words[i], "--") == 0)
            return argc;
        if (i > 0 && words[i][0] == '-' && is_index(words[i], &index))
            kept[indices++] = words[i];
        else
            words[n++] = words[i];
    }
    if (indices > 0)
        words[n++] = "--";
    for (int i = 0; i < indices; i++)
        words[n++] = kept[i];
    words[n] = NULL;
    return n;
}

int hl_cmd_mprof(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        print_help(word != NULL ? stdout : stderr);
        return word != NULL ? written(HL_EXIT_OK) : HL_EXIT_USAGE;
    }
    const verb *v = verbs;
    while (v->name != NULL && strcmp(v->name, word) != 0)
        v++;
    if (v->name == NULL)
        return unknown(word);
    if (argc > 2 && strcmp(argv[2], "--version") == 0) {
        printf("heapline " HEAPLINE_VERSION "\n");
        return written(HL_EXIT_OK);
    }
    char **words = calloc((size_t)argc + 2, sizeof *words);
    if (words == NULL) {
        hl_error("%s", hl_error_text(ENOMEM));
        return HL_EXIT_OURS;
    }
    memcpy(words, argv + 1, (size_t)(argc - 1) * sizeof *words);
    int n = v->indices ? shield_indices(argc - 1, words) : argc - 1;
    int status = v->run(n, words);
    free(words);
    return status;
}
