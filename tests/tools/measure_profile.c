/*
 * measure_profile.c - what the profile costs at the collector's budgets: 200 k call tree nodes, 64 k stats, 256 k time
 * cells. Times a complete batch, an incremental one, publishing, the final publish, and opening; prints the file's
 * size.
 *
 *     measure_profile OUTPUT [blocks]
 */
#include "synthetic.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void say(const char *what, double since_ms, const char *path)
{
    struct stat st = {0};
    struct rusage usage;
    double ms = now_ms() - since_ms;
    stat(path, &st);
    getrusage(RUSAGE_SELF, &usage);
    printf("%-28s %8.1f ms   file %9ld   resident at most %6ld KiB\n", what, ms, (long)st.st_size, usage.ru_maxrss);
}

/* What a busy second changes: a tenth of the stats, their living cells, the newest ticks. */
static void make_changes(hl_batch *changes, const hl_batch *all)
{
    changes->meta = all->meta;
    for (size_t i = 0; i < all->stats.n; i += 10) {
        hl_batch_stat *stat = HL_ROWS_ADD(changes->stats);
        hl_batch_histograms histograms;
        *stat = all->stats.row[i];
        hl_batch_unpack(all, stat, &histograms);
        hl_batch_pack(changes, stat, &histograms);
    }
    for (size_t i = 0; i < all->cells.n; i += 10)
        *(hl_batch_cell *)HL_ROWS_ADD(changes->cells) = all->cells.row[i];
    for (size_t i = 0; i < 100; i++)
        *(hl_batch_tick *)HL_ROWS_ADD(changes->ticks) = (hl_batch_tick){.process = 1, .tick = 5000 + (uint32_t)i};
}

static int check(int error, hl_profile_writer *w)
{
    if (error)
        fprintf(stderr, "measure_profile: %s\n", hl_profile_writer_error(w));
    return error;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    const char *path = argv[1];
    hl_synthetic_options o = hl_synthetic_defaults;
    o.codes = 3000;
    o.nodes = 200000;
    o.stats = 64000;
    o.blocks = argc > 2 ? (uint32_t)atoi(argv[2]) : 600000;
    o.ticks = 2000;
    hl_synthetic *s = hl_synthetic_make(&o);
    if (!s)
        return 1;
    hl_batch all = *hl_synthetic_batch(s), changes = {0};
    if (all.cells.n > 256000)
        all.cells.n = 256000;
    make_changes(&changes, &all);
    printf("nodes %zu, stats %zu, cells %zu, ticks %zu\n", all.nodes.n, all.stats.n, all.cells.n, all.ticks.n);

    hl_profile_writer *w;
    double since = now_ms();
    if (hl_profile_writer_open(&w, path, hl_synthetic_identity(s)) != 0)
        return 1;
    say("open a writer", since, path);
    since = now_ms();
    int error = check(hl_profile_writer_apply(w, &all), w);
    say("first complete batch", since, path);
    since = now_ms();
    error = error ? error : check(hl_profile_writer_publish(w, false), w);
    say("publish", since, path);
    all.codes.n = 0; /* sent once */
    since = now_ms();
    error = error ? error : check(hl_profile_writer_apply(w, &all), w);
    say("complete batch again", since, path);
    since = now_ms();
    error = error ? error : check(hl_profile_writer_apply(w, &changes), w);
    say("incremental batch", since, path);
    since = now_ms();
    error = error ? error : check(hl_profile_writer_publish(w, false), w);
    say("publish", since, path);
    since = now_ms();
    error = error ? error : check(hl_profile_writer_publish(w, true), w);
    say("final publish", since, path);
    hl_profile_writer_close(w);

    hl_profile *profile;
    char why[256];
    since = now_ms();
    error = error ? error : hl_profile_open(&profile, path, why, sizeof why);
    say("open a reader", since, path);
    if (!error) {
        since = now_ms();
        sqlite3_exec(
            hl_profile_database(profile),
            "SELECT sum(allocated), sum(tree_peak), sum(length(sizes)) FROM stat; SELECT sum(frame) FROM stack;"
            "SELECT stat, sum(bytes) FROM cell WHERE born < 1000 AND (died > 1000 OR died IS NULL) GROUP BY stat",
            NULL, NULL, NULL);
        say("read stats, stacks, cells", since, path);
        since = now_ms();
        sqlite3_exec(hl_profile_database(profile), "SELECT file, line, sum(tree_peak) FROM call_site GROUP BY 1, 2",
                     NULL, NULL, NULL);
        say("lines at the peak, in SQL", since, path);
        hl_profile_close(profile);
    }
    hl_batch_release(&changes);
    hl_synthetic_free(s);
    return error ? 1 : 0;
}
