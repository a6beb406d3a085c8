/*
 * reader.c - from rings to words in order. Runs on the collector's one thread.
 *
 * A pass reads all heads (H1), then each process's order word (E), looks for new slots, reads all heads again (H2), and
 * then applies, in the order of epochs, everything below E up to H2, and of E only what lies below H1. Why this is right:
 * an event of an epoch below E was published before its epoch was left, so before E was read, so it lies below H2; and
 * what lies below H1 was there before E was read. A process that is dead is read to its end.
 *
 * Nothing in shared memory is trusted. A chunk is entered only if its owner field names the writer and no reader stands in
 * it; so a chain that runs in circles, or into somebody else's chunk, ends the writer (`broken`), never the collector.
 */
#include "books.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOBODY UINT32_MAX /* in hl_wire_writer.process: the slot is free, or its taker has not filled it yet */

/* ---------------------------------------------------------------------------------------------------------- chunks */

/* The chunk before whose end, or at whose end, the program's address `at` lies; -1: outside the pool or misaligned. */
static int64_t chunk_of(const hl_books *books, const hl_image *image, uint64_t at)
{
    uint64_t offset = at - 8 - image->base - HL_CHUNKS_AT;
    if (at % 8 || offset / HL_CHUNK_BYTES >= books->session->chunks)
        return -1;
    uint64_t inside = offset % HL_CHUNK_BYTES + 8;
    return inside < sizeof(hl_wire_chunk) ? -1 : (int64_t)(offset / HL_CHUNK_BYTES);
}

/* Our pointer for the program's address `at`, which chunk_of accepted. */
static const uint64_t *ours(const hl_books *books, const hl_image *image, uint64_t at)
{
    return (const uint64_t *)((uintptr_t)books->session + (uintptr_t)(at - image->base));
}

static void give_back(hl_books *books, uint32_t chunk)
{
    hl_session *s = books->session;
    hl_wire_chunk *c = hl_session_chunk(s, chunk);
    books->chunk_held[chunk] = 0;
    atomic_store(&c->owner, 0);
    uint64_t top = atomic_load(&s->pool), next;
    do {
        atomic_store(&c->next, (uint32_t)top);
        next = ((top >> 32) + 1) << 32 | (chunk + 1);
    } while (!atomic_compare_exchange_weak(&s->pool, &top, next));
    atomic_fetch_sub(&s->out, 1);
    atomic_fetch_add(&s->freed, 1);
    if (atomic_load(&s->waiting)) /* one thread a chunk: thousands may wait */
        syscall(SYS_futex, &s->freed, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void leave_chunk(hl_books *books, hl_reader *reader)
{
    if (reader->chunk)
        give_back(books, reader->chunk - 1);
    reader->chunk = 0;
    reader->at = NULL;
}

/* Begins to read the chunk whose program address is `address`. False: it is not one that this writer may have. */
static bool enter_chunk(hl_books *books, hl_reader *reader, uint64_t address)
{
    uint64_t offset = address - reader->image->base - HL_CHUNKS_AT;
    uint32_t chunk = (uint32_t)(offset / HL_CHUNK_BYTES);
    if (offset % HL_CHUNK_BYTES || offset / HL_CHUNK_BYTES >= books->session->chunks || books->chunk_held[chunk])
        return false;
    hl_wire_chunk *c = hl_session_chunk(books->session, chunk);
    if (atomic_load(&c->owner) != reader->writer + 1)
        return false;
    books->chunk_held[chunk] = 1;
    reader->chunk = chunk + 1;
    reader->at = c->words;
    return true;
}

/* The writer cannot be read any further. Its chunks are found by their owner field, and go back one by one. */
static void end_broken(hl_books *books, hl_reader *reader)
{
    static const char text[] = "events of a thread became unreadable and were given up from there on: the program may "
                               "have damaged memory that is not its own";
    reader->broken = true;
    if (reader->chunk)
        books->chunk_held[reader->chunk - 1] = 0; /* perhaps the one that it writes into: see take_from_broken */
    reader->chunk = 0;
    books->broken_writers++;
    reader->image->process->lost++;
    if (!reader->image->noted_broken)
        hl_books_note(books, reader->image->process->id, text, sizeof text - 1);
    reader->image->noted_broken = true;
}

/* --------------------------------------------------------------------------------------------------------- readers */

static void free_writer_slot(hl_wire_writer *writer)
{
    writer->process = NOBODY;
    atomic_store(&writer->end, 0);
    atomic_store(&writer->open, 0);
    atomic_store(&writer->state, HL_WRITER_FREE);
}

static void drop_reader(hl_books *books, uint32_t position)
{
    uint32_t slot = books->active[position];
    hl_reader *reader = books->readers[slot];
    if (reader->broken) {
        for (uint32_t chunk = 0; chunk < books->session->chunks; chunk++) {
            if (atomic_load(&hl_session_chunk(books->session, chunk)->owner) == slot + 1 && !books->chunk_held[chunk])
                give_back(books, chunk);
        }
    }
    leave_chunk(books, reader);
    hl_apply_end_of_thread(books, reader);
    hl_lines_end_of_thread(books, reader);
    hl_maps_forget(&reader->image->maps, &reader->unmapped);
    reader->image->process->waited_ns += atomic_load(&hl_session_writer(books->session, slot)->waited_ns);
    reader->image->process->changed = true;
    free_writer_slot(hl_session_writer(books->session, slot));
    free(reader->unmapped.piece);
    free(reader->code);
    free(reader);
    books->readers[slot] = NULL;
    books->active[position] = books->active[--books->active_count];
}

/* Writers that have got their first chunk since the last look. */
static void discover_writers(hl_books *books)
{
    hl_session *s = books->session;
    uint32_t used = atomic_load(&s->writers_used);
    if (used > HL_MAX_WRITERS)
        used = HL_MAX_WRITERS;
    for (uint32_t slot = 0; slot < used; slot++) {
        if (books->readers[slot])
            continue;
        hl_wire_writer *writer = hl_session_writer(s, slot);
        uint32_t state = atomic_load_explicit(&writer->state, memory_order_acquire);
        if (state == HL_WRITER_FREE)
            continue;
        uint64_t end = atomic_load_explicit(&writer->end, memory_order_acquire);
        if (end == 0) {
            if (state == HL_WRITER_ENDED)
                free_writer_slot(writer); /* never wrote */
            continue;
        }
        uint32_t process = writer->process; /* filled before `end` is */
        hl_image *image = process < HL_MAX_PROCESSES ? books->images[process] : NULL;
        if (!image)
            continue;
        hl_reader *reader = hl_zeroed(sizeof *reader);
        reader->image = image;
        reader->writer = slot;
        reader->thread = hl_thread_of(books, image, writer->thread, writer->tid);
        reader->charge = hl_thread_charge(books, reader->thread);
        reader->h1 = 0;
        books->readers[slot] = reader;
        books->active[books->active_count++] = (uint16_t)slot;
    }
}

/* -------------------------------------------------------------------------------------------------------- the pass */

/* Enters the first chunk after a time without one, and tells the writer so: it may let go again. */
static bool enter_restart(hl_books *books, hl_reader *reader)
{
    hl_wire_writer *writer = hl_session_writer(books->session, reader->writer);
    bool entered = enter_chunk(books, reader, atomic_load(&writer->restart));
    atomic_store(&writer->restart, 0);
    return entered;
}

/* Makes sure that the reader stands in a chunk, if its writer has one. */
static bool has_chunk(hl_books *books, hl_reader *reader)
{
    if (reader->chunk)
        return true;
    hl_wire_writer *writer = hl_session_writer(books->session, reader->writer);
    if (!atomic_load_explicit(&writer->end, memory_order_acquire))
        return false;
    reader->wanted = false;
    reader->past_h1 = true; /* it had none when H1 was read */
    if (!enter_restart(books, reader)) {
        end_broken(books, reader);
        return false;
    }
    return true;
}

/* What can be read now. */
typedef enum hl_view { HL_VIEW_NOTHING, HL_VIEW_WORDS } hl_view;

/* Finds the limit up to which the chunk at hand may be read; goes on to the next chunk when it is read to its end.
 * HL_VIEW_NOTHING: nothing is left of this pass. */
static hl_view view(hl_books *books, hl_reader *reader, const uint64_t **limit)
{
    hl_image *image = reader->image;
    for (;;) {
        if (reader->broken || !reader->chunk)
            return HL_VIEW_NOTHING;
        uint64_t target = reader->past_h1 ? reader->h2 : reader->h1;
        int64_t last = chunk_of(books, image, target);
        if (last < 0)
            goto broken;
        hl_wire_chunk *c = hl_session_chunk(books->session, reader->chunk - 1);
        if ((uint32_t)last + 1 == reader->chunk) {
            *limit = ours(books, image, target);
            if (*limit < reader->at)
                goto broken;
            if (*limit > reader->at)
                return HL_VIEW_WORDS;
            if (reader->past_h1)
                return HL_VIEW_NOTHING;
            reader->past_h1 = true;
            continue;
        }
        /* The writer has gone on to another chunk. If it had been asked for this one, it says so in its slot. */
        uint64_t next = atomic_load(&c->next), used = atomic_load(&c->used);
        if (!next)
            used = atomic_load(&hl_session_writer(books->session, reader->writer)->left);
        int64_t of = chunk_of(books, image, used);
        if (of < 0 || (uint32_t)of + 1 != reader->chunk || ours(books, image, used) < reader->at)
            goto broken;
        *limit = ours(books, image, used);
        if (*limit > reader->at)
            return HL_VIEW_WORDS;
        leave_chunk(books, reader);
        reader->wanted = false;
        if (!(next ? enter_chunk(books, reader, next) : enter_restart(books, reader)))
            goto broken;
    }
broken:
    end_broken(books, reader);
    return HL_VIEW_NOTHING;
}

/* The epoch of the reader's next word; false: nothing that this pass may apply. */
static bool next_epoch(hl_books *books, hl_reader *reader, uint64_t *epoch)
{
    const uint64_t *limit;
    if (view(books, reader, &limit) == HL_VIEW_NOTHING)
        return false;
    uint64_t word = __atomic_load_n(reader->at, __ATOMIC_RELAXED), top = reader->image->top;
    *epoch = hl_word_kind_of(word) == HL_WORD_EPOCH ? word & HL_PAYLOAD : reader->epoch;
    if (*epoch > reader->image->order_after && top != UINT64_MAX) { /* an epoch that nobody has begun */
        end_broken(books, reader);
        return false;
    }
    return *epoch < top || (*epoch == top && !reader->past_h1 && top != 0);
}

/* Applies the reader's words up to epoch `upto`, as far as this pass may. */
static void run(hl_books *books, hl_reader *reader, uint64_t upto)
{
    const uint64_t *limit;
    uint64_t top = reader->image->top;
    while (view(books, reader, &limit) == HL_VIEW_WORDS) {
        bool whole = !reader->past_h1 || top == UINT64_MAX;
        uint64_t allowed = whole || upto < top ? upto : top - 1;
        if (reader->epoch > allowed) {
            uint64_t word = __atomic_load_n(reader->at, __ATOMIC_RELAXED);
            if (hl_word_kind_of(word) != HL_WORD_EPOCH || (word & HL_PAYLOAD) > allowed)
                return;
        }
        switch (hl_apply(books, reader, limit, allowed)) {
        case HL_APPLIED_ALL:
            break;
        case HL_APPLIED_TO_EPOCH:
            return;
        case HL_APPLIED_INVALID:
            end_broken(books, reader);
            return;
        }
    }
}

static void sift_down(hl_waiting_reader *heap, uint32_t n, uint32_t i)
{
    hl_waiting_reader moved = heap[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].epoch < heap[child].epoch)
            child++;
        if (moved.epoch <= heap[child].epoch)
            break;
        heap[i] = heap[child];
    }
    heap[i] = moved;
}

static void apply_in_order(hl_books *books, hl_waiting_reader *heap, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
    while (n) {
        hl_reader *reader = heap[0].reader;
        uint64_t second = UINT64_MAX;
        if (n > 1)
            second = heap[1].epoch;
        if (n > 2 && heap[2].epoch < second)
            second = heap[2].epoch;
        uint64_t top = reader->image->top;
        run(books, reader, second < top ? second : top);
        uint64_t epoch;
        if (next_epoch(books, reader, &epoch))
            heap[0].epoch = epoch;
        else
            heap[0] = heap[--n];
        if (n)
            sift_down(heap, n, 0);
    }
}

static void read_heads(hl_books *books)
{
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        hl_wire_writer *writer = hl_session_writer(books->session, books->active[i]);
        reader->past_h1 = !reader->chunk;
        reader->h1 = atomic_load_explicit(&writer->head, memory_order_acquire);
    }
}

/* Parents before their children, and what was there before an exec before what came after. */
static int by_image(const void *a, const void *b)
{
    const hl_waiting_reader *x = a, *y = b;
    uint64_t i = x->reader->image->number, j = y->reader->image->number;
    return (i > j) - (i < j);
}

/* What the image's exec replaced was there until then, and all it did comes before what the image does. False: it is being
 * read, further up the call stack. */
static bool release_replaced(hl_books *books, const hl_image *image)
{
    bool all = true;
    for (uint32_t i = 0; books->replaced && i < books->image_slots && image->process->images > 1; i++) {
        hl_image *old = books->images[i];
        if (!old || old->process != image->process || !old->replaced || old->released || old->number >= image->number)
            continue;
        if (hl_books_read_out(books, old))
            hl_apply_release_all(books, old);
        else
            all = false;
    }
    return all;
}

/* Those whose turn it is before image number `before`, in their order; their end was known before the pass began, and so was
 * what their parents had done until they made them. */
static void release_in_turn(hl_books *books, uint64_t before)
{
    while (books->replaced) {
        hl_image *next = NULL;
        for (uint32_t i = 0; i < books->image_slots; i++) {
            hl_image *image = books->images[i];
            if (image && image->replaced && !image->released && image->top == UINT64_MAX && image->number < before &&
                (!next || image->number < next->number))
                next = image;
        }
        if (!next || !hl_books_read_out(books, next))
            return;
        hl_apply_release_all(books, next);
    }
}

bool hl_books_read_out(hl_books *books, hl_image *image)
{
    enum { DEEPEST = 64 }; /* a process waits for one that waited for one .. */
    if (image->reading || books->depth == DEEPEST)
        return false;
    if (!release_replaced(books, image))
        return false;
    uint64_t top = image->top;
    image->top = UINT64_MAX;
    image->reading = true;
    books->depth++;
    discover_writers(books);
    hl_waiting_reader *heap = books->heap + books->heap_used;
    uint32_t n = 0;
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        if (reader->image != image || reader->broken || !has_chunk(books, reader))
            continue;
        reader->h1 = reader->h2 = atomic_load(&hl_session_writer(books->session, reader->writer)->head);
        reader->past_h1 = true;
        uint64_t epoch;
        if (next_epoch(books, reader, &epoch))
            heap[n++] = (hl_waiting_reader){epoch, reader};
    }
    books->heap_used += n;
    hl_process *before = hl_books_put_to_work(books, image->process);
    apply_in_order(books, heap, n);
    hl_books_put_to_work(books, before);
    books->heap_used -= n;
    books->depth--;
    image->reading = false;
    image->top = image->dead ? UINT64_MAX : top;
    return true;
}

uint64_t hl_books_pass(hl_books *books, uint64_t now_ns)
{
    uint64_t before = books->words;
    books->now_ns = now_ns;
    books->now_ms = (uint32_t)(now_ns / 1000000);

    read_heads(books);
    for (uint32_t i = 0; i < HL_MAX_PROCESSES && i < books->image_slots; i++) {
        hl_image *image = books->images[i];
        if (image)
            image->top = image->dead ? UINT64_MAX : atomic_load(&hl_session_process(books->session, i)->order) >> 16;
    }
    hl_processes_discover(books);
    discover_writers(books);

    hl_waiting_reader *heap = books->heap;
    uint32_t n = 0;
    for (uint32_t i = 0; i < books->active_count; i++) {
        uint32_t slot = books->active[i];
        hl_reader *reader = books->readers[slot];
        hl_wire_writer *writer = hl_session_writer(books->session, slot);
        bool ended = atomic_load_explicit(&writer->state, memory_order_acquire) == HL_WRITER_ENDED;
        if (reader->broken) {
            reader->ended = ended;
            continue;
        }
        if (!has_chunk(books, reader)) {
            reader->ended = ended;
            continue;
        }
        reader->h2 = atomic_load_explicit(&writer->head, memory_order_acquire);
        bool idle = reader->at == ours(books, reader->image, reader->h2);
        reader->ended = ended && idle;
        if (!idle)
            heap[n++].reader = reader;
    }
    for (uint32_t i = 0; i < HL_MAX_PROCESSES && i < books->image_slots; i++) {
        if (books->images[i])
            books->images[i]->order_after = atomic_load(&hl_session_process(books->session, i)->order) >> 16;
    }

    if (n > 1 && books->image_count > 1)
        qsort(heap, n, sizeof *heap, by_image);
    books->heap_used = n;
    for (uint32_t from = 0, to; from < n; from = to) {
        uint32_t kept = from;
        const hl_image *image = heap[from].reader->image;
        for (to = from; to < n && heap[to].reader->image == image; to++) {
            hl_reader *reader = heap[to].reader;
            uint64_t epoch;
            if (next_epoch(books, reader, &epoch))
                heap[kept++] = (hl_waiting_reader){epoch, reader};
        }
        if (kept == from)
            continue;
        hl_image *at_work = heap[from].reader->image;
        release_in_turn(books, at_work->number);
        release_replaced(books, at_work);
        hl_books_put_to_work(books, at_work->process);
        at_work->reading = true;
        apply_in_order(books, heap + from, kept - from);
        at_work->reading = false;
    }
    hl_books_put_to_work(books, NULL);
    release_in_turn(books, UINT64_MAX);
    books->heap_used = 0;

    for (uint32_t i = books->active_count; i-- > 0;) {
        if (books->readers[books->active[i]]->ended)
            drop_reader(books, i);
    }
    if (books->words != before)
        atomic_fetch_add(&books->session->progress, 1);
    return books->words - before;
}

/* --------------------------------------------------------------------------------------------------------- reclaim */

static bool barrier(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0 ||
           syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0;
}

static bool is_idle(const hl_books *books, const hl_reader *reader)
{
    hl_wire_writer *writer = hl_session_writer(books->session, reader->writer);
    return reader->chunk && !reader->broken && reader->at == ours(books, reader->image, atomic_load(&writer->head));
}

/* The writer's `end` while it writes into the chunk at hand. */
static uint64_t end_of_chunk(const hl_reader *reader)
{
    return reader->image->base + HL_CHUNKS_AT + (uint64_t)reader->chunk * HL_CHUNK_BYTES;
}

/* What a broken writer has taken is of no use to anybody: chunks that it has left go back at once; the others when it is
 * in no hook, for only then it has none in its hands. `asked`: its `end` was cleared before the barrier. */
static void take_from_broken(hl_books *books, hl_reader *reader, bool asked)
{
    hl_session *s = books->session;
    hl_wire_writer *writer = hl_session_writer(s, reader->writer);
    bool all = asked && !atomic_load(&writer->open) && !atomic_load(&writer->end);
    int64_t at_work = chunk_of(books, reader->image, atomic_load(&writer->head));
    for (uint32_t chunk = 0; chunk < s->chunks; chunk++) {
        hl_wire_chunk *c = hl_session_chunk(s, chunk);
        if (atomic_load(&c->owner) == reader->writer + 1 && !books->chunk_held[chunk] &&
            (all || (atomic_load(&c->next) && chunk != at_work)))
            give_back(books, chunk);
    }
}

/* A writer stores `open`, then reads `end`, with no fence between. Here `end` is cleared, a barrier is forced on every
 * thread of the programs, and then only a slot that is not open, and whose head has not moved, gives its chunk up; or an
 * open one whose thread waits for another chunk and has let go of this one.
 *
 * `end` is cleared only while it is the end of the chunk in which the reader stands: the writer may be just going on to
 * another, and would leave that one, too, with a word in its slot (`left`, `restart`) before the first was read. */
void hl_books_reclaim(hl_books *books)
{
    uint32_t asked = 0;
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        hl_wire_writer *writer = hl_session_writer(books->session, reader->writer);
        if (reader->broken) {
            atomic_store(&writer->end, 0);
            asked++;
        } else if (is_idle(books, reader)) {
            uint64_t end = end_of_chunk(reader);
            if (!atomic_compare_exchange_strong(&writer->end, &end, 0) && end != 0)
                continue;
            reader->wanted = true;
            asked++;
        }
    }
    if (!asked)
        return;
    bool fenced = barrier();
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        hl_wire_writer *writer = hl_session_writer(books->session, reader->writer);
        if (reader->broken) {
            take_from_broken(books, reader, fenced);
            continue;
        }
        if (!fenced || !reader->wanted || atomic_load(&writer->end))
            continue;
        if (atomic_load(&writer->open) && atomic_load(&writer->left) != (atomic_load(&writer->head) | 1))
            continue;
        if (!is_idle(books, reader)) /* asked last: a hook that has just ended may have written one more event */
            continue;
        leave_chunk(books, reader);
        reader->wanted = false;
        books->reclaimed++;
    }
}

/* ----------------------------------------------------------------------------------------------------- ends of images */

bool hl_books_image_is_read(const hl_books *books, const hl_image *image)
{
    for (uint32_t i = 0; i < books->active_count; i++) {
        const hl_reader *reader = books->readers[books->active[i]];
        hl_wire_writer *writer = hl_session_writer(books->session, reader->writer);
        if (reader->image != image || reader->broken)
            continue;
        if (!reader->chunk ? atomic_load(&writer->end) != 0 : !is_idle(books, reader))
            return false;
    }
    return true;
}

void hl_books_drop_image(hl_books *books, hl_image *image)
{
    hl_session *s = books->session;
    for (uint32_t i = books->active_count; i-- > 0;) {
        if (books->readers[books->active[i]]->image == image)
            drop_reader(books, i);
    }
    /* Chunks that its writers took, wherever they stand: published chains, one just taken, those of a broken writer. */
    for (uint32_t chunk = 0; chunk < s->chunks; chunk++) {
        uint32_t owner = atomic_load(&hl_session_chunk(s, chunk)->owner);
        if (owner == (HL_OWNER_LINES | image->slot) && !books->chunk_held[chunk])
            give_back(books, chunk); /* of counters, announced or not */
        if (owner == 0 || owner > HL_MAX_WRITERS || books->chunk_held[chunk])
            continue;
        hl_wire_writer *writer = hl_session_writer(s, owner - 1);
        uint32_t state = atomic_load(&writer->state);
        bool its_own = writer->process == image->slot && state != HL_WRITER_FREE;
        bool nobodys = state == HL_WRITER_FREE; /* of a reader just dropped, or of one that broke */
        if (its_own || nobodys)
            give_back(books, chunk);
    }
    uint32_t used = atomic_load(&s->writers_used);
    for (uint32_t slot = 0; slot < used && slot < HL_MAX_WRITERS; slot++) {
        hl_wire_writer *writer = hl_session_writer(s, slot);
        if (atomic_load(&writer->state) != HL_WRITER_FREE && writer->process == image->slot)
            free_writer_slot(writer);
    }
}
