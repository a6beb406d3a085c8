/*
 * The order of events between threads: 1 to 8 threads write real rings while the books read them, and hand blocks to each
 * other through mailboxes. A free before its allocation, or an allocation on a live block, would be counted as such.
 */
#include "books_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BOXES = 256, MOST_THREADS = 8 };

typedef struct worker {
    ring_process *process;
    int number, events;
    uint64_t allocated, freed, allocations, frees, highest;
} worker;

static _Atomic uint64_t boxes[BOXES];    /* address | size in the low 12 bits */
static _Atomic uint64_t pool[64 * 1024]; /* free addresses: handed out again at once, as malloc does */
static _Atomic uint32_t pool_count;
static _Atomic int running;

/* A lock-free stack of addresses would do; a spin lock keeps the test plain. It is not held around ring words. */
static _Atomic int pool_lock;
static uint64_t take_address(void)
{
    while (atomic_exchange(&pool_lock, 1))
        sched_yield();
    uint64_t a = atomic_load(&pool[atomic_fetch_sub(&pool_count, 1) - 1]);
    atomic_store(&pool_lock, 0);
    return a;
}
static void give_address(uint64_t a)
{
    while (atomic_exchange(&pool_lock, 1))
        sched_yield();
    atomic_store(&pool[atomic_fetch_add(&pool_count, 1)], a);
    atomic_store(&pool_lock, 0);
}

static void *work(void *argument)
{
    worker *me = argument;
    ring_writer w = ring_begin(me->process, 100 + me->number);
    uint64_t r = 88172645463325252u + (uint64_t)me->number * 7919;
    for (int i = 0; i < me->events; i++) {
        r ^= r << 13;
        r ^= r >> 7;
        r ^= r << 17;
        uint64_t size = (r >> 20) % 4000, address = take_address();
        ring_malloc(&w, address, size); /* after the real call */
        me->allocated += size;
        me->allocations++;
        if (r % 16 == 0) { /* realloc to another place */
            uint64_t to;
            ring_move(&w, address);
            give_address(address); /* the real realloc: another thread may have the old place at once */
            to = take_address();
            me->freed += size;
            me->frees++;
            size = (r >> 33) % 4000;
            ring_alloc(&w, HL_WORD_MOVED_REALLOC, to, size);
            me->allocated += size;
            me->allocations++;
            address = to;
        }
        uint64_t mine = address | size, other = r >> 60 ? atomic_exchange(&boxes[(r >> 8) % BOXES], mine) : mine;
        if (other) {
            ring_free(&w, other & ~UINT64_C(4095)); /* before the real call */
            me->freed += other & 4095;
            me->frees++;
            give_address(other & ~UINT64_C(4095));
        }
    }
    ring_end(&w);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static void run_threads(int threads, int events, uint32_t pool_bytes)
{
    fixture f;
    open_fixture(&f, pool_bytes);
    ring_when_full = NULL; /* writers wait for the passes of this thread */
    ring_process p = ring_join(f.mapped, getpid(), getppid(), 0);
    memset(boxes, 0, sizeof boxes);
    atomic_store(&pool_count, 0);
    for (uint64_t i = 0; i < 4096; i++)
        give_address(UINT64_C(0x7f0000000000) + i * 4096);
    worker workers[MOST_THREADS];
    pthread_t ids[MOST_THREADS];
    atomic_store(&running, threads);
    for (int i = 0; i < threads; i++) {
        workers[i] = (worker){.process = &p, .number = i, .events = events};
        assert_int_equal(pthread_create(&ids[i], NULL, work, &workers[i]), 0);
    }
    while (atomic_load(&running)) {
        f.now_ns += 300000;
        pass(&f);
        if (ring_dawdle || atomic_load(&f.session->waiting) || f.now_ns % 7 == 0)
            hl_books_reclaim(f.books);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    read_all(&f);
    uint64_t allocated = 0, freed = 0, allocations = 0, frees = 0, boxed = 0, boxed_bytes = 0;
    for (int i = 0; i < threads; i++) {
        allocated += workers[i].allocated;
        freed += workers[i].freed;
        allocations += workers[i].allocations;
        frees += workers[i].frees;
    }
    for (int i = 0; i < BOXES; i++) {
        boxed += boxes[i] != 0;
        boxed_bytes += boxes[i] & 4095;
    }
    const hl_process *process = first_process(&f);
    assert_int_equal(process->unknown_frees, 0);
    assert_int_equal(process->lost, 0); /* an allocation on a live block would be here */
    assert_int_equal(f.books->broken_writers, 0);
    assert_int_equal(process->allocations, allocations);
    assert_int_equal(process->allocated, allocated);
    assert_int_equal(process->frees, frees);
    assert_int_equal(process->heap, boxed_bytes);
    assert_int_equal(process->allocations - process->frees, boxed);
    assert_int_equal(f.books->images[0]->live.count, boxed);
    assert_int_equal(allocated - freed, boxed_bytes);
    assert_adds_up(&f);
    assert_int_equal(f.books->active_count, 0); /* ended, read to the end, slots free */
    assert_int_equal(atomic_load(&f.session->out), 0);
    close_fixture(&f);
}

#ifndef EVENTS
#define EVENTS 150000
#endif
static void one_thread(void **state) { run_threads(1, EVENTS, 0); }
static void two_threads(void **state) { run_threads(2, EVENTS, 0); }
static void four_threads(void **state) { run_threads(4, EVENTS / 2, 0); }
static void eight_threads_with_a_small_pool(void **state) { run_threads(8, EVENTS / 4, 12 * HL_CHUNK_BYTES); }
/* A chunk is taken back only after its last word has been read, however long the hook that wrote it takes. */
static void chunks_taken_back_after_each_pass(void **state)
{
    ring_dawdle = 3000; /* some microseconds: as long as a barrier takes */
    run_threads(2, EVENTS / 4, 0);
    run_threads(4, EVENTS / 8, 0);
    ring_dawdle = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread),
        cmocka_unit_test(two_threads),
        cmocka_unit_test(four_threads),
        cmocka_unit_test(eight_threads_with_a_small_pool),
        cmocka_unit_test(chunks_taken_back_after_each_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
