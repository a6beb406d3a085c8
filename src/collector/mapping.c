/*
 * mapping.c - words about mappings: which ranges are whose, and what of them is heap (docs/semantics.md, "Mappings").
 *
 * An UNMAP is published before the real munmap, which may fail, and mremap takes its old range by one: so what the last
 * UNMAP of a writer took stays at hand, to be put back or to tell what is being moved.
 */
#include "books.h"

#include <stdlib.h>

#define PAGE UINT64_C(4096)
#define HIGHEST (UINT64_C(1) << 56)

static inline uint64_t word_at(const uint64_t *w) { return __atomic_load_n(w, __ATOMIC_RELAXED); }

static hl_block block_of(const hl_piece *piece)
{
    return (hl_block){
        .where = (uint64_t)piece->thread << HL_ADDRESS_BITS,
        .what = (uint64_t)piece->row << HL_BLOCK_SIZE_BITS,
        .born_ms = piece->born_ms,
        .count = piece->count,
    };
}

/* A piece is gone. Its bytes are freed; the mapping is, once, with its last piece. `by`: the reader whose thread took it
 * away; null: it is the end of all. */
static void release(hl_books *books, hl_process *process, hl_reader *by, hl_piece *piece)
{
    uint64_t bytes = piece->end - piece->start;
    process->maps[piece->map_class].live -= bytes;
    if (piece->map_class != HL_MAP_HEAP)
        return;
    hl_block block = block_of(piece);
    if (by && by->lines)
        hl_lines_freed(books, by, &block, bytes);
    if (piece->last) {
        hl_release(books, process, &block, bytes);
    } else {
        if (process->part)
            hl_part_shrink(books, process, &block, bytes);
        hl_process_shrink(books, process, bytes);
        hl_row *row = hl_row_touch(books, process, piece->row);
        row->freed += bytes;
        if (piece->born_ms < books->cells.start_ms)
            hl_row_old_gone(books, (uint32_t)(row - books->rows.row), piece->born_ms, books->now_ms, 0, (int64_t)bytes);
    }
}

/* .. and was not gone after all: the munmap failed. */
static void take_back(hl_books *books, hl_reader *reader, const hl_piece *piece)
{
    hl_process *process = reader->image->process;
    uint32_t unmapped_ms = reader->unmapped_ms;
    uint64_t bytes = piece->end - piece->start;
    process->maps[piece->map_class].live += bytes;
    if (piece->map_class != HL_MAP_HEAP)
        return;
    if (reader->lines && reader->lines->marks == reader->unmapped_marks) {
        hl_block block = block_of(piece);
        hl_lines_not_freed(books, reader, &block, bytes);
    }
    if (process->part) {
        hl_block back = block_of(piece);
        hl_part_take_back(books, process, &back, bytes, piece->last, piece->later, unmapped_ms);
    }
    if (piece->last)
        process->frees--;
    hl_process_grow(books, process, bytes);
    hl_row *row = hl_row_touch(books, process, piece->row);
    uint32_t number = (uint32_t)(row - books->rows.row);
    row->freed -= bytes;
    row->frees -= piece->last;
    if (piece->last)
        hl_row_uncount_free(&books->rows, row, unmapped_ms - piece->born_ms, piece->later, bytes);
    if (piece->born_ms < books->cells.start_ms)
        hl_row_old_gone(books, number, piece->born_ms, unmapped_ms, -(int64_t)piece->last, -(int64_t)bytes);
}

static void release_all(hl_books *books, hl_process *process, hl_reader *by, hl_pieces *pieces)
{
    for (uint32_t i = 0; i < pieces->count; i++) {
        hl_piece *piece = &pieces->piece[i];
        piece->later = books->threads[piece->thread].allocations - piece->count;
        release(books, process, by, piece);
    }
}

/* A new mapping, or a part of one that has become something else. */
static void put(hl_books *books, hl_reader *reader, uint64_t start, uint64_t end, unsigned map_class, uint64_t word)
{
    hl_process *process = reader->image->process;
    uint64_t bytes = end - start;
    hl_piece piece = {.start = start, .end = end, .map_class = (uint8_t)map_class, .born_ms = books->now_ms};
    process->maps[map_class].count++;
    process->maps[map_class].mapped += bytes;
    process->maps[map_class].live += bytes;
    if (process->maps[map_class].live > process->maps[map_class].peak)
        process->maps[map_class].peak = process->maps[map_class].live;
    if (map_class == HL_MAP_HEAP) {
        unsigned slot = hl_word_slot(word);
        piece.row = reader->rows[slot][HL_MMAP];
        if (!piece.row)
            piece.row = hl_reader_row(books, reader, slot, HL_MMAP);
        piece.thread = reader->thread;
        piece.count = ++books->threads[reader->thread].allocations;
        hl_charge(books, process, piece.row, bytes);
        if (reader->lines)
            hl_lines_allocated(books, reader, bytes);
    }
    hl_maps_put(&reader->image->maps, &piece);
}

static void take_away(hl_books *books, hl_reader *reader, uint64_t start, uint64_t end)
{
    hl_pieces *pieces = &books->pieces;
    hl_maps_take(&reader->image->maps, start, end, pieces);
    release_all(books, reader->image->process, reader, pieces);
    hl_maps_forget(&reader->image->maps, pieces);
}

/* What was reserved in the range becomes `map_class`: heap, or an arena when the interpreter's allocator asked. */
static void commit(hl_books *books, hl_reader *reader, uint64_t start, uint64_t end, unsigned map_class, uint64_t word)
{
    hl_maps *maps = &reader->image->maps;
    hl_pieces *pieces = &books->pieces;
    hl_maps_take(maps, start, end, pieces);
    for (uint32_t i = 0; i < pieces->count; i++) {
        hl_piece piece = pieces->piece[i];
        if (piece.map_class != HL_MAP_RESERVATION && piece.map_class != HL_MAP_POOL) {
            hl_maps_put(maps, &piece);
            pieces->piece[i].last = false; /* its number is in use */
            continue;
        }
        release(books, reader->image->process, reader, &piece);
        put(books, reader, piece.start, piece.end, map_class == HL_MAP_ARENA ? HL_MAP_ARENA : HL_MAP_HEAP, word);
    }
    hl_maps_forget(maps, pieces);
}

static unsigned class_at(const hl_reader *reader, uint64_t address, unsigned otherwise)
{
    for (uint32_t i = 0; i < reader->unmapped.count; i++) {
        if (reader->unmapped.piece[i].start <= address && address < reader->unmapped.piece[i].end)
            return reader->unmapped.piece[i].map_class;
    }
    const hl_piece *piece = hl_maps_find(&reader->image->maps, address);
    return piece ? piece->map_class : otherwise;
}

static bool is_range(uint64_t start, uint64_t bytes)
{
    return bytes > 0 && bytes < HIGHEST && start < HIGHEST && start + bytes < HIGHEST;
}

/* A length in whole pages. A munmap that fails may ask for any. */
static uint64_t length_at(const uint64_t *w)
{
    uint64_t bytes = word_at(w);
    return bytes < HIGHEST ? (bytes + PAGE - 1) & ~(PAGE - 1) : HIGHEST;
}

uint32_t hl_map_word(hl_books *books, hl_reader *reader, const uint64_t *w, uint64_t left)
{
    uint64_t word = word_at(w);
    hl_word_kind kind = hl_word_kind_of(word);
    hl_image *image = reader->image;
    hl_process *process = image->process;
    if (kind == HL_WORD_UNMAP_UNDO) {
        for (uint32_t i = 0; i < reader->unmapped.count; i++) {
            take_back(books, reader, &reader->unmapped.piece[i]);
            hl_maps_put(&image->maps, &reader->unmapped.piece[i]);
        }
        reader->unmapped.count = 0; /* their numbers are in use again */
        return 1;
    }

    uint64_t start = hl_word_map_address(word);
    unsigned map_class = word & 7;
    if (left < (kind == HL_WORD_REMAP ? 4u : 2u) || map_class >= HL_MAP_CLASSES)
        return 0;
    uint64_t bytes = length_at(w + 1);
    uint64_t end = start + bytes < HIGHEST ? start + bytes : HIGHEST;
    if (kind == HL_WORD_MAP && !is_range(start, bytes))
        return 0;
    switch ((unsigned)kind) {
    case HL_WORD_MAP:
        take_away(books, reader, start, end);
        put(books, reader, start, end, map_class, word);
        return 2;
    case HL_WORD_UNMAP:
        hl_maps_forget(&image->maps, &reader->unmapped);
        hl_maps_take(&image->maps, start, end, &reader->unmapped);
        reader->unmapped_ms = books->now_ms;
        reader->unmapped_marks = reader->lines ? reader->lines->marks : 0;
        release_all(books, process, reader, &reader->unmapped);
        return 2;
    case HL_WORD_COMMIT:
        commit(books, reader, start, end, map_class, word);
        return 2;
    default: { /* HL_WORD_REMAP */
        uint64_t to = word_at(w + 2) & ~(PAGE - 1), to_bytes = length_at(w + 3);
        if (!is_range(to, to_bytes))
            return 0;
        map_class = class_at(reader, start, map_class);
        take_away(books, reader, to, to + to_bytes);
        put(books, reader, to, to + to_bytes, map_class, word);
        return 4;
    }
    }
}

void hl_map_release_all(hl_books *books, hl_image *image)
{
    hl_pieces *pieces = &books->pieces;
    hl_maps_take(&image->maps, 0, UINT64_MAX, pieces);
    release_all(books, image->process, NULL, pieces);
    hl_maps_forget(&image->maps, pieces);
}
