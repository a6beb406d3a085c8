/*
 * apply.c - from words to books. Runs on the collector's one thread; everything else of the collector exists so that this
 * loop has little to do.
 *
 * Budget: 8 ns an event on hot sets. A block that is freed by the very next word of its ring never enters the table: its
 * effect on peak, totals and temporaries is kept.
 */
#include "books.h"

#include <stdlib.h>
#include <string.h>

/* Words ahead at which a block's slot, and then its row, and what a node's name means are fetched; only for tables that the
 * cache does not hold. */
enum { AHEAD = 16, NEAR = 6, CACHED_SLOTS = 32 << 10, CACHED_NAMES = 4 << 10 };

/* More than any address space: such a size is a broken word. */
#define LARGEST_SIZE (UINT64_C(1) << 48)

static inline uint64_t word_at(const uint64_t *w) { return __atomic_load_n(w, __ATOMIC_RELAXED); }
static inline uint64_t key_in(uint64_t word) { return word >> HL_SIZE_BITS & HL_ADDRESS_MASK; }

/* ------------------------------------------------------------------------------------------------------------ rows */

uint32_t hl_row_forwarded(hl_books *books, uint32_t row, bool block)
{
    hl_key *key = books->rows.key;
    if (block && key[row].waiting)
        key[row].waiting--;
    uint32_t to = row;
    while (books->rows.row[to].stamp == HL_STAMP_FORWARD)
        to = key[to].forward;
    return key[row].forward = to;
}

/* Blocks born in tick old_tick join the cells. Those of them that go within the same tick are taken off by the next call. */
void hl_row_settle(hl_books *books, uint32_t row)
{
    hl_row *r = &books->rows.row[row];
    uint64_t live = r->allocated - r->freed;
    uint32_t blocks = (uint32_t)(r->allocations - r->frees);
    if (live == r->old_live && blocks == r->old_blocks)
        return;
    hl_cells_add(&books->cells, row, r->old_tick, HL_CELL_ALIVE, (int64_t)blocks - r->old_blocks,
                 (int64_t)(live - r->old_live));
    r->old_live = live;
    r->old_blocks = blocks;
}

hl_row *hl_row_refresh(hl_books *books, hl_process *process, uint32_t row)
{
    if (books->rows.row[row].stamp == HL_STAMP_FORWARD)
        row = hl_row_forwarded(books, row, false);
    hl_row *r = &books->rows.row[row];
    if (process->tree_seen != books->tree_number) { /* only when it is not at work */
        process->tree_seen = books->tree_number;
        hl_process_stamp(process);
    }
    if (r->stamp == process->stamp)
        return r;
    uint64_t live = r->allocated - r->freed;
    uint32_t blocks = (uint32_t)(r->allocations - r->frees);
    if (r->peak_number != process->peak_number) {
        r->peak = live;
        r->peak_blocks = blocks;
        r->peak_number = process->peak_number;
    }
    if (r->tree_number != books->tree_number) {
        bool there = !process->left || process->end_tree_number == books->tree_number;
        r->tree_peak = there ? live : 0;
        r->tree_blocks = there ? blocks : 0;
        r->tree_number = books->tree_number;
    }
    if (r->old_tick != books->cells.tick) { /* what was born in that tick and is still there has outlived it */
        hl_row_settle(books, row);
        r->old_tick = books->cells.tick;
    }
    hl_rows_mark_dirty(&books->rows, row);
    r->stamp = process->stamp;
    return r;
}

void hl_row_old_gone(hl_books *books, uint32_t row, uint32_t born_ms, uint32_t died_ms, int64_t blocks, int64_t bytes)
{
    hl_cells *cells = &books->cells;
    uint32_t born = born_ms / cells->tick_ms, died = died_ms / cells->tick_ms;
    hl_row *r = &books->rows.row[row];
    r->old_live -= (uint64_t)bytes;
    r->old_blocks -= (uint32_t)blocks;
    hl_cells_add(cells, row, born, HL_CELL_ALIVE, -blocks, -bytes);
    if (born != died)
        hl_cells_add(cells, row, born, died, blocks, bytes);
}

static inline hl_memo *memo_of(const hl_books *books, const hl_reader *reader, uint64_t id)
{
    return &books->memo[(id ^ (uint64_t)reader->charge * UINT64_C(0x9e3779b9)) % HL_MEMOS];
}
static inline bool memo_holds(const hl_books *books, const hl_reader *reader, const hl_memo *memo, uint64_t id)
{
    return memo->id == id && memo->charge == reader->charge && memo->epoch == books->epoch;
}

uint32_t hl_reader_row(hl_books *books, hl_reader *reader, unsigned slot, unsigned allocator)
{
    hl_process *process = reader->image->process;
    uint32_t node = reader->nodes[slot] ? reader->node[slot] : HL_NODE_PLAIN;
    if (node & HL_STAND_IN || hl_node_is_hidden(books, reader->image, reader->nodes[slot], node))
        node = reader->node[slot] = hl_node_named(books, reader->image, reader->nodes[slot]);
    if (!(node & HL_STAND_IN))
        hl_node_charged(books, reader->image, reader->nodes[slot], node);
    bool made;
    uint32_t row = hl_rows_find(&books->rows, hl_tree_first_row(&books->tree, node), node, process->id,
                                hl_thread_group(books, reader->thread, process), allocator, &made);
    if (made) {
        hl_row *r = &books->rows.row[row];
        r->peak_number = process->peak_number;
        r->tree_number = books->tree_number;
        r->old_tick = books->cells.tick;
    }
    hl_memo *memo = memo_of(books, reader, reader->nodes[slot]);
    if (memo_holds(books, reader, memo, reader->nodes[slot]))
        memo->rows[allocator] = row;
    return reader->rows[slot][allocator] = row;
}

static inline uint32_t row_for(hl_books *books, hl_reader *reader, uint64_t word, unsigned allocator)
{
    unsigned slot = hl_word_slot(word);
    uint32_t row = reader->rows[slot][allocator];
    return __builtin_expect(row != 0, 1) ? row : hl_reader_row(books, reader, slot, allocator);
}

/* ---------------------------------------------------------------------------------------------------------- blocks */

static uint64_t full_size(hl_image *image, const hl_block *block)
{
    uint64_t size = hl_block_size(block);
    return __builtin_expect(size == HL_BLOCK_SIZE_MASK, 0) ? hl_live_huge_take(&image->live, hl_block_key(block))
                                                           : size;
}

/* Puts a new block into the table; it has been charged. */
static inline void insert(hl_books *books, hl_reader *reader, uint64_t key, uint64_t size, uint32_t row)
{
    hl_image *image = reader->image;
    uint32_t thread = reader->thread;
    if (__builtin_expect(size >= HL_BLOCK_SIZE_MASK, 0)) {
        hl_live_huge_put(&image->live, key, size);
        size = HL_BLOCK_SIZE_MASK;
    }
    hl_block block = {
        .where = key | (uint64_t)thread << HL_ADDRESS_BITS,
        .what = size | (uint64_t)row << HL_BLOCK_SIZE_BITS,
        .born_ms = books->now_ms,
        .count = books->threads[thread].allocations,
    };
    hl_block old;
    if (__builtin_expect(hl_live_put(&image->live, &block, &old), 0)) { /* its free was not seen */
        image->process->lost++;
        hl_release(books, image->process, &old, full_size(image, &old));
    }
}

static void unknown_free(hl_image *image)
{
    if (image->forked)
        image->process->inherited_frees++;
    else
        image->process->unknown_frees++;
}

/* A realloc that began has not ended: its hook was left by longjmp, or its thread is gone. The block counts until its free is
 * seen, unless its address is another block's by now: then realloc had freed it. */
static void abandon_move(hl_books *books, hl_reader *reader)
{
    bool known = reader->moving && reader->moving_known;
    reader->moving = false;
    if (!known)
        return;
    hl_live *live = &reader->image->live;
    hl_process *process = reader->image->process;
    hl_block newer;
    if (!hl_live_put(live, &reader->moved, &newer)) {
        if (hl_block_size(&reader->moved) == HL_BLOCK_SIZE_MASK)
            hl_live_huge_put(live, hl_block_key(&reader->moved), reader->moved_bytes);
        return;
    }
    hl_live_put(live, &newer, &reader->moved);
    hl_process *before = hl_books_put_to_work(books, process);
    process->lost++;
    hl_release(books, process, &reader->moved, reader->moved_bytes);
    hl_books_put_to_work(books, before);
}
void hl_apply_end_of_thread(hl_books *books, hl_reader *reader) { abandon_move(books, reader); }

static void begin_move(hl_books *books, hl_reader *reader, uint64_t key)
{
    abandon_move(books, reader);
    reader->moving = true;
    reader->moving_known = hl_live_take(&reader->image->live, key, &reader->moved);
    if (reader->moving_known)
        reader->moved_bytes = full_size(reader->image, &reader->moved);
}

/* The old block goes and the new one comes in one step, so that both are never in the heap. */
static void end_move(hl_books *books, hl_reader *reader, uint64_t key, uint64_t size, uint32_t row)
{
    hl_process *process = reader->image->process;
    if (reader->moving && reader->moving_known) {
        uint64_t old_size = reader->moved_bytes;
        if (process->part)
            hl_part_move(books, process, &reader->moved, old_size, row, size);
        process->frees++;
        process->allocations++;
        process->allocated += size;
        if (size >= old_size)
            hl_process_grow(books, process, size - old_size);
        else
            hl_process_shrink(books, process, old_size - size);
        hl_row_release(books, process, &reader->moved, old_size);
        books->threads[reader->thread].allocations++;
        hl_row_charge(books, process, row, size);
        if (__builtin_expect(reader->lines != NULL, 0))
            hl_lines_freed(books, reader, &reader->moved, old_size);
    } else {
        if (reader->moving)
            unknown_free(reader->image);
        books->threads[reader->thread].allocations++;
        hl_charge(books, process, row, size);
    }
    if (__builtin_expect(reader->lines != NULL, 0))
        hl_lines_allocated(books, reader, size);
    reader->moving = false;
    insert(books, reader, key, size, row);
}

void hl_apply_release_all(hl_books *books, hl_image *image)
{
    if (image->released)
        return;
    image->released = true;
    books->replaced--;
    hl_process *before = hl_books_put_to_work(books, image->process);
    for (uint64_t i = 0; i <= image->live.last; i++) {
        hl_block block = image->live.slots[i];
        if (block.where)
            hl_release(books, image->process, &block, full_size(image, &block));
    }
    for (uint32_t i = 0; i < books->active_count; i++) {
        hl_reader *reader = books->readers[books->active[i]];
        if (reader->image == image && reader->moving && reader->moving_known)
            hl_release(books, image->process, &reader->moved, reader->moved_bytes);
        if (reader->image == image)
            reader->moving = false;
    }
    hl_map_release_all(books, image);
    hl_live_release(&image->live);
    hl_live_init(&image->live);
    hl_books_put_to_work(books, before);
}

/* ---------------------------------------------------------------------------------------------------------- words */

static void name_stack(hl_books *books, hl_reader *reader, uint64_t id)
{
    unsigned slot = id % HL_STACK_SLOTS;
    if (reader->nodes[slot] == id)
        return;
    reader->nodes[slot] = id;
    hl_memo *memo = memo_of(books, reader, id);
    if (memo_holds(books, reader, memo, id)) {
        reader->node[slot] = memo->node;
        memcpy(reader->rows[slot], memo->rows, sizeof memo->rows);
        return;
    }
    uint32_t node = reader->node[slot] = hl_node_named(books, reader->image, id);
    memset(reader->rows[slot], 0, sizeof reader->rows[slot]);
    /* What a stand-in means may be told at any moment, and what was folded may be brought back. */
    if (!(node & HL_STAND_IN) && books->tree.node[node].kind != HL_NODE_DEEPER)
        *memo = (hl_memo){.id = id, .charge = reader->charge, .epoch = books->epoch, .node = node};
}

/* The words that are not about blocks. The number of words taken; 0: not valid. */
static __attribute__((noinline)) uint32_t other_word(hl_books *books, hl_reader *reader, const uint64_t *w,
                                                     uint64_t left)
{
    switch (hl_word_kind_of(word_at(w))) {
    case HL_WORD_NODE:
        return hl_announce_node(books, reader, w, left);
    case HL_WORD_CODE:
        return hl_announce_code(books, reader, w, left);
    case HL_WORD_TEXT:
        return hl_announce_text(books, reader, w, left);
    case HL_WORD_MAP:
    case HL_WORD_UNMAP:
    case HL_WORD_UNMAP_UNDO:
    case HL_WORD_REMAP:
    case HL_WORD_COMMIT:
        return hl_map_word(books, reader, w, left);
    case HL_WORD_CHILD:
        return hl_announce_child(books, reader, w, left);
    case HL_WORD_EXEC:
        return hl_announce_exec(books, reader, w, left);
    case HL_WORD_MARK:
        return hl_announce_mark(books, reader, w, left);
    case HL_WORD_WAITED:
        return hl_announce_waited(books, reader, w, left);
    case HL_WORD_LINES:
        return hl_lines_announced(books, reader, w, left);
    default:
        return 0;
    }
}

static inline __attribute__((always_inline)) hl_applied apply(hl_books *books, hl_reader *reader, const uint64_t *limit,
                                                              uint64_t upto, const bool prefetch)
{
    hl_image *image = reader->image;
    hl_process *process = image->process;
    const uint64_t *w = reader->at, *from = w;
    hl_applied result = HL_APPLIED_ALL;
    hl_block block;
    while (w < limit) {
        uint64_t word = word_at(w);
        if (prefetch) {
            /* What lies behind the limit is old words or the page behind the pool: it only aims a prefetch. */
            uint64_t far = w[AHEAD];
            hl_word_kind far_kind = hl_word_kind_of(far);
            if (far_kind == HL_WORD_NODE || far_kind == HL_WORD_STACK)
                hl_names_prefetch(&image->names, far & HL_PAYLOAD);
            else
                __builtin_prefetch(&image->live.slots[hl_live_home(&image->live, key_in(far))], 1);
            uint64_t near = w[NEAR];
            if (hl_word_kind_of(near) == HL_WORD_FREE) {
                const hl_block *guess = &image->live.slots[hl_live_home(&image->live, key_in(near))];
                if (hl_block_key(guess) == key_in(near))
                    __builtin_prefetch(&books->rows.row[hl_block_row(guess)], 1);
            } else if (hl_word_kind_of(near) == HL_WORD_NODE) {
                hl_announce_node_ahead(books, image, w + NEAR);
            }
        }
        hl_word_kind kind = hl_word_kind_of(word);
        uint64_t key = key_in(word), size = hl_word_size(word);
        switch ((unsigned)kind) {
        case HL_WORD_FREE:
            if (__builtin_expect(key == 0, 0))
                goto invalid;
            if (__builtin_expect(hl_live_take(&image->live, key, &block), 1)) {
                size = full_size(image, &block);
                hl_release(books, process, &block, size);
                if (__builtin_expect(reader->lines != NULL, 0))
                    hl_lines_freed(books, reader, &block, size);
            } else {
                unknown_free(image);
            }
            w++;
            break;

        case HL_WORD_ALLOC + HL_MALLOC:
        case HL_WORD_ALLOC + HL_CALLOC:
        case HL_WORD_ALLOC + HL_REALLOC:
        case HL_WORD_ALLOC + HL_ALIGNED:
        case HL_WORD_ALLOC + HL_PYOBJ:
        case HL_WORD_ALLOC + HL_PYMEM:
        case HL_WORD_ALLOC + HL_PYRAW: {
            if (__builtin_expect(size == HL_SIZE_MAX, 0))
                size = reader->size;
            if (__builtin_expect(key == 0, 0))
                goto invalid;
            uint32_t row = row_for(books, reader, word, (unsigned)(kind - HL_WORD_ALLOC));
            hl_thread *thread = &books->threads[reader->thread];
            thread->allocations++;
            hl_charge(books, process, row, size);
            if (__builtin_expect(reader->lines != NULL, 0))
                hl_lines_allocated(books, reader, size);
            if (w + 1 < limit && word_at(w + 1) == HL_WORD(HL_WORD_FREE, key << HL_SIZE_BITS)) {
                block.where = key | (uint64_t)reader->thread << HL_ADDRESS_BITS;
                block.what = (uint64_t)row << HL_BLOCK_SIZE_BITS;
                block.born_ms = books->now_ms;
                block.count = thread->allocations;
                hl_release(books, process, &block, size);
                if (__builtin_expect(reader->lines != NULL, 0))
                    hl_lines_freed(books, reader, &block, size);
                if (__builtin_expect(hl_live_take(&image->live, key, &block), 0)) { /* one whose free was not seen */
                    process->lost++;
                    hl_release(books, process, &block, full_size(image, &block));
                }
                w += 2;
            } else {
                insert(books, reader, key, size, row);
                w++;
            }
            break;
        }

        case HL_WORD_MOVE:
            if (key == 0)
                goto invalid;
            begin_move(books, reader, key);
            w++;
            break;

        case HL_WORD_MOVED_REALLOC:
        case HL_WORD_MOVED_PYOBJ:
        case HL_WORD_MOVED_PYMEM:
        case HL_WORD_MOVED_PYRAW: {
            if (size == HL_SIZE_MAX)
                size = reader->size;
            if (key == 0)
                goto invalid;
            static const uint8_t allocators[] = {HL_REALLOC, HL_PYOBJ, HL_PYMEM, HL_PYRAW};
            end_move(books, reader, key, size, row_for(books, reader, word, allocators[kind - HL_WORD_MOVED_REALLOC]));
            w++;
            break;
        }

        case HL_WORD_MOVE_FAILED:
            abandon_move(books, reader);
            w++;
            break;

        case HL_WORD_STACK:
            name_stack(books, reader, word & HL_PAYLOAD);
            w++;
            break;

        case HL_WORD_LINE:
            if (!hl_lines_moved_on(books, reader, word))
                goto invalid;
            w++;
            break;

        case HL_WORD_SIZE:
            reader->size = word & HL_PAYLOAD;
            if (reader->size >= LARGEST_SIZE)
                goto invalid;
            w++;
            break;

        case HL_WORD_EPOCH:
            if ((word & HL_PAYLOAD) > upto) {
                result = HL_APPLIED_TO_EPOCH;
                goto done;
            }
            reader->epoch = word & HL_PAYLOAD;
            w++;
            break;

        default: {
            uint32_t words = other_word(books, reader, w, (uint64_t)(limit - w));
            if (!words)
                goto invalid;
            w += words;
            break;
        }
        }
    }
    goto done;
invalid:
    result = HL_APPLIED_INVALID;
done:
    books->words += (uint64_t)(w - from);
    reader->at = w;
    return result;
}

static __attribute__((noinline)) hl_applied apply_cached(hl_books *b, hl_reader *r, const uint64_t *limit,
                                                         uint64_t upto)
{
    return apply(b, r, limit, upto, false);
}
static __attribute__((noinline)) hl_applied apply_ahead(hl_books *b, hl_reader *r, const uint64_t *limit, uint64_t upto)
{
    return apply(b, r, limit, upto, true);
}

hl_applied hl_apply(hl_books *books, hl_reader *reader, const uint64_t *limit, uint64_t upto)
{
    const hl_image *image = reader->image;
    return image->live.capacity > CACHED_SLOTS || image->names.mask >= CACHED_NAMES
               ? apply_ahead(books, reader, limit, upto)
               : apply_cached(books, reader, limit, upto);
}
