/*
 * symbols.c - `symbols [options] PATH OFFSET..`: what heapline says about places in a file. Offsets (0x..., or decimal) count
 * from the first segment's page; "-" reads them from stdin. A place is a line "0xOFFSET", then its frames, innermost first:
 *
 *     function (inlined)
 *         file:line
 *
 * --build-id ID, --cache FOLDER (none unless given), --debug FOLDER, --debuginfod, --direct (no worker), --counts.
 */
#include "symbols.h"
#include "object.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct places {
    uint32_t *of;
    size_t used;
} places;

static void add(places *p, const char *text)
{
    if ((p->used & (p->used - 1)) == 0)
        p->of = realloc(p->of, (p->used ? p->used * 2 : 1) * sizeof *p->of);
    if (!p->of)
        exit(3);
    p->of[p->used++] = (uint32_t)strtoul(text, NULL, 0);
}

static void show(void *context, size_t index, const hl_native_frame *frames, size_t n)
{
    const places *p = context;
    printf("0x%x\n", p->of[index]);
    for (size_t i = 0; i < n; i++)
        printf("%s%s\n    %s:%u\n", frames[i].function, frames[i].is_inline ? " (inlined)" : "", frames[i].file,
               frames[i].line);
}

static void show_direct(void *context, uint32_t offset, const hl_native_frame *frames, size_t n)
{
    printf("0x%x\n", offset);
    for (size_t i = 0; i < n; i++)
        printf("%s%s\n    %s:%u\n", frames[i].function ? frames[i].function : "?",
               frames[i].is_inline ? " (inlined)" : "", frames[i].file ? frames[i].file : "?", frames[i].line);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"build-id", 1, NULL, 'b'}, {"cache", 1, NULL, 'c'},  {"debug", 1, NULL, 'd'}, {"debuginfod", 0, NULL, 'D'},
        {"direct", 0, NULL, 'x'},   {"counts", 0, NULL, 'n'}, {NULL, 0, NULL, 0},
    };
    hl_symbols_options o = {.cache_directory = ""};
    const char *build_id = "";
    bool is_direct = false, counts = false, servers = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'b':
            build_id = optarg;
            break;
        case 'c':
            o.cache_directory = optarg;
            break;
        case 'd':
            o.debug_directory = optarg;
            break;
        case 'D':
            servers = true;
            break;
        case 'x':
            is_direct = true;
            break;
        case 'n':
            counts = true;
            break;
        default:
            return 2;
        }
    }
    if (optind + 1 >= argc) {
        fprintf(stderr,
                "usage: symbols [--build-id ID] [--cache FOLDER] [--debug FOLDER] [--debuginfod] [--direct] [--counts] "
                "PATH OFFSET.. | -\n");
        return 2;
    }
    const char *path = argv[optind++];
    places p = {0};
    for (; optind < argc; optind++) {
        char line[64];
        if (strcmp(argv[optind], "-") != 0)
            add(&p, argv[optind]);
        else
            while (fgets(line, sizeof line, stdin))
                add(&p, line);
    }
    if (is_direct) { /* the offsets must ascend */
        hl_resolve_request r = {.path = path,
                                .build_id = build_id,
                                .debug_directory = o.debug_directory ? o.debug_directory : "/usr/lib/debug",
                                .flags = servers ? HL_RESOLVE_DEBUGINFOD : 0,
                                .offsets = p.of,
                                .n = p.used,
                                .found = show_direct};
        hl_resolve(&r);
        free(p.of);
        return 0;
    }
    hl_symbols *s = hl_symbols_open(&o);
    if (s && servers)
        hl_symbols_try(s, HL_SYMBOLS_SERVERS);
    int error = s ? hl_symbols_resolve(s, path, build_id, p.of, p.used, show, &p) : -ENOMEM;
    if (s && counts) {
        hl_symbols_counts n = hl_symbols_count(s);
        fprintf(stderr, "places %llu cached %llu resolved %llu unnamed %llu workers lost %llu\n",
                (unsigned long long)n.places, (unsigned long long)n.cached, (unsigned long long)n.resolved,
                (unsigned long long)n.unnamed, (unsigned long long)n.workers_lost);
    }
    hl_symbols_close(s);
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    if (counts)
        fprintf(stderr, "own: %ld ms, %ld KiB; worker: %ld ms, %ld KiB\n",
                (self.ru_utime.tv_sec + self.ru_stime.tv_sec) * 1000 +
                    (self.ru_utime.tv_usec + self.ru_stime.tv_usec) / 1000,
                self.ru_maxrss,
                (children.ru_utime.tv_sec + children.ru_stime.tv_sec) * 1000 +
                    (children.ru_utime.tv_usec + children.ru_stime.tv_usec) / 1000,
                children.ru_maxrss);
    free(p.of);
    return error ? 1 : 0;
}
