/*
 * answers.c - what programs ask the collector while they run (python/heapline): how much they hold, that it has read all that
 * they have done, a checkpoint. Runs on the collector's one thread, around each pass.
 *
 * A pass that began after a program asked has read what that thread wrote before, but for a writer that the pass found only
 * then: so it is answered after two.
 */
#include "books.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PASSES = 2 };
#define WATCHED_NS UINT64_C(200000000) /* for so long after a look the numbers are kept fresh */

static hl_wire_process *slot_of(hl_books *books, uint32_t i) { return hl_session_process(books->session, i); }

static void wake_all(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); }

uint64_t hl_process_high(const hl_process *process)
{
    return process->high > process->high_before ? process->high : process->high_before;
}

void hl_process_reset_peak(hl_process *process)
{
    process->high_before = hl_process_high(process);
    process->asked_peak = process->high = process->heap;
    process->line = process->high < process->tree_line ? process->high : process->tree_line;
}

bool hl_answers_are_due(const hl_books *books)
{
    hl_session *s = books->session;
    if (atomic_load(&s->checkpoint_asked) != books->checkpoint_seen || books->checkpoint_passes > 1)
        return true;
    for (uint32_t i = 0; i < books->image_slots; i++) {
        const hl_image *image = books->images[i];
        const hl_wire_process *slot = hl_session_process(s, i);
        if (image && !image->dead && atomic_load(&slot->sync_asked) != image->sync_done)
            return true;
    }
    return false;
}

void hl_answers_before_pass(hl_books *books)
{
    for (uint32_t i = 0; i < books->image_slots; i++) {
        hl_image *image = books->images[i];
        if (!image || image->dead)
            continue;
        uint32_t asked = atomic_load(&slot_of(books, i)->sync_asked);
        if (!image->sync_passes && asked != image->sync_done) {
            image->sync_wanted = asked;
            image->sync_passes = PASSES;
        }
        if (atomic_load_explicit(&slot_of(books, i)->watched, memory_order_relaxed)) {
            atomic_store(&slot_of(books, i)->watched, 0);
            books->watched_until_ns = books->now_ns + WATCHED_NS;
        }
    }
    uint32_t asked = atomic_load(&books->session->checkpoint_asked);
    if (!books->checkpoint_passes && asked != books->checkpoint_seen) {
        books->checkpoint_seen = asked;
        books->checkpoint_passes = PASSES + 1;
    }
}

void hl_answers_after_pass(hl_books *books, uint64_t pass_began_ns)
{
    for (uint32_t i = 0; i < books->image_slots; i++) {
        hl_image *image = books->images[i];
        if (!image || image->dead)
            continue;
        hl_wire_process *slot = slot_of(books, i);
        const hl_process *process = image->process;
        uint64_t peak = process->asked_peak > process->high ? process->asked_peak : process->high;
        atomic_store_explicit(&slot->heap, process->heap, memory_order_relaxed);
        atomic_store_explicit(&slot->peak, peak, memory_order_relaxed);
        if (process->part)
            hl_part_publish(process->part, &slot->part);
        for (int k = 0; k < 2; k++)
            atomic_store_explicit(&slot->measured[k], process->measured[k], memory_order_relaxed);
        atomic_store_explicit(&slot->seen_ns, books->start_ns + pass_began_ns, memory_order_release);
        if (image->sync_passes && --image->sync_passes == 0) {
            image->sync_done = image->sync_wanted;
            atomic_store(&slot->sync_done, image->sync_done);
            wake_all(&slot->sync_done);
        }
    }
    if (books->checkpoint_passes > 1)
        books->checkpoint_passes--;
}

bool hl_answers_want_checkpoint(const hl_books *books) { return books->checkpoint_passes == 1; }

void hl_answers_checkpoint_done(hl_books *books, uint32_t number, int error)
{
    hl_session *s = books->session;
    atomic_store(&s->checkpoint_error, -error);
    atomic_store(&s->checkpoint_done, number);
    wake_all(&s->checkpoint_done);
}
