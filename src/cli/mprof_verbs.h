/*
 * mprof_verbs.h - the verbs of `heapline mprof` that have files of their own, and the .dat files that their operands mean.
 */
#ifndef HL_CLI_MPROF_VERBS_H
#define HL_CLI_MPROF_VERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

int hl_mprof_run(int argc, char **argv);
int hl_mprof_attach(int argc, char **argv);
int hl_mprof_plot(int argc, char **argv);

typedef struct hl_dat_names {
    char **at; /* from malloc, each too */
    size_t n;
} hl_dat_names;

/* The files of this folder that `mprof run` named, mprofile_<14 digits>.dat, oldest first. 0 or -errno. */
int hl_dat_names_here(hl_dat_names *names);

/* What operands mean: a file, or an index into the files of this folder (negative: from the newest), each once. Without
 * operands the newest, which is said to `told`. False after a message. */
bool hl_dat_names_of(hl_dat_names *names, char *const *words, int n, FILE *told);

bool hl_dat_names_add(hl_dat_names *names, const char *name); /* false: no memory */
void hl_dat_names_release(hl_dat_names *names);

#endif
