/*
 * measure_books [LIVE] [ROUNDS] - nanoseconds that the books take for an event, all statistics included, with LIVE blocks
 * alive at random ages. Not a test; build it by hand:
 *   cc -O2 -D_GNU_SOURCE -Isrc/wire -Isrc/profile -Isrc/collector -o measure_books tests/stress/measure_books.c \
 *      build/release/libhl_{collector,profile,symbols,base}.a -lsqlite3 -lz -lpthread
 */
#include "../unit/ring_writer.h"
#include "books.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    uint64_t live = argc > 1 ? strtoull(argv[1], NULL, 10) : 3000, rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 60;
    hl_session *s;
    int fd;
    hl_session_options options = {.pool_bytes = 8 << 20};
    if (hl_session_create(&s, &fd, &options))
        return 1;
    static hl_books books;
    hl_books_init(&books, s, 10);
    ring_process p = ring_join(ring_map(fd, s), getpid(), getppid(), 0);
    ring_writer w = ring_begin(&p, 1);
    ring_code(&w, 0x1000, "a.py", "f");
    uint64_t nodes[64], r = 88172645463325252u, now_ns = 0;
    for (uint32_t i = 0; i < 64; i++)
        nodes[i] = ring_node(&w, ring_root(&w), 0x1000, i * 2, true);
    uint64_t *at = calloc(live + 1, 8);
    uint64_t events = 0, spent_ns = 0, best = UINT64_MAX;
    for (uint64_t round = 0, made = 0; round < rounds + live / 100000; round++) {
        uint64_t round_events = 0;
        for (int i = 0; i < 120000; i++) {
            r ^= r << 13;
            r ^= r >> 7;
            r ^= r << 17;
            if (r >> 61 == 0) /* a stack is used for some 8 events; 12 of 64 are hot */
                w.stack = nodes[(r >> 40) % (r >> 50 & 7 ? 12 : 64)];
            uint64_t size = 16 + (r >> 20) % 64;
            if (r % 100 < 30) { /* freed by the very next word */
                uint64_t a = 0x7e0000000000 + (r >> 30) % 512 * 64;
                ring_malloc(&w, a, size);
                ring_free(&w, a);
                round_events += 2;
                continue;
            }
            uint64_t slot = (r >> 8) % (live + 1);
            if (at[slot]) {
                ring_free(&w, at[slot]);
                round_events++;
            }
            if (made < live || !at[slot] || r % 2) {
                at[slot] = 0x7f0000000000 + (at[slot] ? at[slot] - 0x7f0000000000 : made++ * 48);
                ring_malloc(&w, at[slot], size);
                round_events++;
            } else {
                at[slot] = 0x7f0000000000 + (at[slot] - 0x7f0000000000);
                ring_malloc(&w, at[slot], size);
                round_events++;
            }
        }
        now_ns += 4000000;
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        hl_ticks_advance(&books, now_ns);
        hl_books_pass(&books, now_ns);
        hl_books_pass(&books, now_ns);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        uint64_t ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)(to.tv_nsec - from.tv_nsec);
        if (round > live / 100000) {
            spent_ns += ns;
            events += round_events;
            if (ns * 1000 / round_events < best)
                best = ns * 1000 / round_events;
        }
    }
    printf("%llu live: %.2f ns an event, best round %.2f; %.1f bytes of table a block\n",
           (unsigned long long)books.images[0]->live.count, (double)spent_ns / (double)events, (double)best / 1000,
           (double)books.images[0]->live.area.bytes / (double)books.images[0]->live.count);
    return 0;
}
