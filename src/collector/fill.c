/* fill.c - a batch of rows from the books: copies only, no disk, no SQL. */
#include "checkpoint.h"

#include <string.h>

static void *add(void *rows, size_t row_bytes)
{
    void *row = hl_rows_add(rows, row_bytes);
    if (!row)
        hl_no_memory();
    return row;
}
#define ADD(rows) add(&(rows), sizeof *(rows).row)

static void fill_meta(hl_books *books, hl_batch_meta *meta, bool final, bool stopped)
{
    *meta = (hl_batch_meta){.now_ns = books->now_ns, .final = final, .stopped = stopped};
    for (uint32_t i = 0; i < books->process_count; i++) {
        const hl_process *p = books->processes[i];
        meta->allocations += p->allocations;
        meta->allocated += p->allocated;
        meta->frees += p->frees;
        meta->freed += p->allocated - p->heap;
        meta->live += p->heap;
        meta->live_blocks += p->allocations - p->frees;
        meta->lost += p->lost;
        meta->waited_ns += p->waited_ns;
        meta->events += p->allocations + p->frees + p->inherited_frees + p->unknown_frees;
        if (p->pid == (int32_t)books->session->root_pid && !meta->root_ended && p->ended) {
            meta->root_end_ns = p->end_ns;
            /* With no parent command to tell, what is known of its process. */
            meta->root_ended = p->ended == HL_ENDED_EXIT || p->ended == HL_ENDED_SIGNAL;
            meta->root_status = p->ended == HL_ENDED_EXIT ? p->exit_status << 8 : p->exit_status;
        }
    }
    if (!books->tree_on && books->process_count) {
        const hl_process *p = books->processes[0];
        meta->peak = meta->peak_bound = p->peak;
        meta->peak_ns = p->peak_ns;
        meta->peak_blocks = p->peak_blocks;
        meta->arena_peak = p->maps[HL_MAP_ARENA].peak;
        meta->rss_peak = p->rss_peak;
        meta->pool_peak = p->pool_peak;
    } else {
        meta->peak = books->tree_peak;
        meta->peak_ns = books->tree_peak_ns;
        meta->peak_blocks = books->tree_peak_blocks;
        meta->peak_bound = books->tree_bound > books->tree_peak ? books->tree_bound : books->tree_peak;
        meta->arena_peak = books->arena_peak;
        meta->rss_peak = books->rss_peak;
        meta->pool_peak = books->pool_peak;
        for (uint32_t i = 0; i < books->process_count; i++) {
            const hl_process *p = books->processes[i];
            if (p->maps[HL_MAP_ARENA].peak > meta->arena_peak)
                meta->arena_peak = p->maps[HL_MAP_ARENA].peak;
            if (p->rss_peak > meta->rss_peak)
                meta->rss_peak = p->rss_peak;
            if (p->pool_peak > meta->pool_peak)
                meta->pool_peak = p->pool_peak;
        }
    }
    hl_checkpoint_cost(&meta->collector_cpu_ns, &meta->collector_rss_peak);
    meta->tick_ns = (uint64_t)books->tick_ms * 1000000;
    meta->cell_tick_ns = (uint64_t)books->cells.tick_ms * 1000000;
    meta->folded_stacks = books->folded_stacks;
    meta->folded_rows = books->folded_rows;
    if (atomic_load(&books->session->root_ended)) {
        meta->root_ended = true;
        meta->root_status = atomic_load(&books->session->root_status);
        if (!meta->root_end_ns)
            meta->root_end_ns = books->root_end_ns;
    }
    meta->oom_limit = books->oom_limit;
    meta->oom_scope = books->oom_scope;
}

static void fill_process(hl_books *books, hl_batch *batch, hl_process *p)
{
    hl_batch_process *to = ADD(batch->processes);
    to->id = p->id;
    to->pid = p->pid;
    to->parent_pid = p->parent_pid;
    to->parent = p->parent;
    to->born_by = p->born_by;
    to->command = p->command;
    to->executable = p->executable;
    to->reason = p->reason.bytes ? p->reason : hl_unseen_reason(books, p);
    to->python_version = p->python_version;
    to->python_flags = p->python_flags;
    to->recording = p->recording;
    to->start_ns = p->start_ns;
    to->end_ns = p->end_ns;
    to->ended = p->ended;
    to->exit_status = p->exit_status;
    to->allocations = p->allocations;
    to->allocated = p->allocated;
    to->frees = p->frees;
    to->freed = p->allocated - p->heap;
    to->live = p->heap;
    to->live_blocks = p->allocations - p->frees;
    to->peak = p->peak;
    to->peak_ns = p->peak_ns;
    to->peak_blocks = p->peak_blocks;
    to->inherited_frees = p->inherited_frees;
    to->unknown_frees = p->unknown_frees;
    to->lost = p->lost;
    to->waited_ns = p->waited_ns;
    to->rss_peak = p->rss_peak;
    to->pool_owners = p->pool_owners;
    to->pool_peak = p->pool_peak;
    for (int i = 0; i < HL_MAP_CLASSES; i++) {
        to->maps[i].count = p->maps[i].count;
        to->maps[i].mapped = p->maps[i].mapped;
        to->maps[i].live = p->maps[i].live;
        to->maps[i].peak = p->maps[i].peak;
    }
    /* What its rings that are still being read, and its slot, hold so far. */
    for (uint32_t i = 0; i < books->active_count; i++) {
        const hl_reader *reader = books->readers[books->active[i]];
        if (reader->image->process == p)
            to->waited_ns += atomic_load(&hl_session_writer(books->session, reader->writer)->waited_ns);
    }
    for (uint32_t i = 0; i < books->image_slots && p->images; i++) {
        if (books->images[i] && books->images[i]->process == p)
            to->lost += atomic_load(&hl_session_process(books->session, i)->lost);
    }
    batch->meta.lost += to->lost - p->lost;
    batch->meta.waited_ns += to->waited_ns - p->waited_ns;
}

static void fill_bucket(hl_batch *batch, hl_histogram histogram, unsigned bucket, uint32_t count, uint64_t bytes)
{
    if (count || bytes) {
        hl_batch_bucket *to = ADD(batch->buckets);
        *to = (hl_batch_bucket){(uint8_t)histogram, (uint8_t)bucket, count, bytes};
    }
}

/* Where a row's shares of its process's and of the tree's peak come from. */
enum { SHARE_SAVED = 1, TREE_SHARE_SAVED = 2, TREE_SHARE_NONE = 4, TREE_SHARE_IS_OWN = 8 };

static uint16_t share_sources(const hl_books *books, uint32_t row)
{
    const hl_row *r = &books->rows.row[row];
    const hl_process *process = books->processes[books->rows.key[row].process - 1];
    unsigned sources = !process->rising && r->peak_number == process->peak_number ? SHARE_SAVED : 0;
    if (!books->tree_on)
        sources |= TREE_SHARE_IS_OWN;
    else if (process->left && (books->tree_rising || process->end_tree_number != books->tree_number))
        sources |= TREE_SHARE_NONE;
    else if (!books->tree_rising && r->tree_number == books->tree_number)
        sources |= TREE_SHARE_SAVED;
    return (uint16_t)sources;
}

static void fill_stat(hl_books *books, hl_batch *batch, uint32_t row)
{
    const hl_row *r = &books->rows.row[row];
    const hl_key *key = &books->rows.key[row];
    hl_batch_stat *to = ADD(batch->stats);
    uint64_t live = r->allocated - r->freed, blocks = r->allocations - r->frees;
    to->id = row;
    to->node = key->node & HL_STAND_IN ? hl_tree_node(&books->tree, HL_NODE_TOP, HL_NODE_DEEPER, 0, 0) : key->node;
    to->process = key->process;
    to->thread = key->thread;
    to->allocator = key->allocator;
    to->allocations = r->allocations;
    to->allocated = r->allocated;
    to->frees = r->frees;
    to->freed = r->freed;
    to->live = (int64_t)live;
    to->live_blocks = blocks;
    unsigned sources = share_sources(books, row);
    to->peak = (int64_t)(sources & SHARE_SAVED ? r->peak : live);
    to->peak_blocks = sources & SHARE_SAVED ? r->peak_blocks : blocks;
    if (sources & TREE_SHARE_IS_OWN) {
        to->tree_peak = to->peak;
        to->tree_peak_blocks = to->peak_blocks;
    } else if (!(sources & TREE_SHARE_NONE)) {
        to->tree_peak = (int64_t)(sources & TREE_SHARE_SAVED ? r->tree_peak : live);
        to->tree_peak_blocks = sources & TREE_SHARE_SAVED ? r->tree_blocks : blocks;
    }
    books->rows.key[row].told = (uint16_t)sources;
    to->largest = r->largest;
    to->buckets_at = (uint32_t)batch->buckets.n;
    if (r->size_bucket != HL_NO_BUCKET)
        fill_bucket(batch, HL_SIZES, r->size_bucket, r->size_count, 0);
    if (r->life_bucket != HL_NO_BUCKET)
        fill_bucket(batch, HL_LIVES, r->life_bucket, r->life_count, 0);
    if (r->temporary_bucket != HL_NO_BUCKET)
        fill_bucket(batch, HL_TEMPORARY, r->temporary_bucket, r->temporary_count, r->temporary_bytes);
    hl_bucket more[HL_BUCKETS];
    for (unsigned i = 0, n = hl_row_further(&books->rows, r, more); i < n; i++)
        fill_bucket(batch, (hl_histogram)more[i].histogram, more[i].bucket, more[i].count, more[i].bytes);
    to->buckets = (uint32_t)batch->buckets.n - to->buckets_at;
}

static void fill_tick(hl_batch *batch, uint32_t process, const hl_tick *t)
{
    hl_batch_tick *to = ADD(batch->ticks);
    to->process = process;
    to->tick = t->tick;
    to->heap = t->heap;
    to->heap_low = t->low;
    to->heap_high = t->high;
    to->arena = t->arena;
    to->rss = t->rss_kib == UINT32_MAX ? -1 : (int64_t)t->rss_kib * 1024;
    to->rss_anon = t->anon_kib == UINT32_MAX ? -1 : (int64_t)t->anon_kib * 1024;
    to->rss_file = t->file_kib == UINT32_MAX ? -1 : (int64_t)t->file_kib * 1024;
    to->rss_shmem = t->shmem_kib == UINT32_MAX ? -1 : (int64_t)t->shmem_kib * 1024;
    to->pool = t->pool_kib == UINT32_MAX ? -1 : (int64_t)t->pool_kib * 1024;
    to->pss = t->pss_kib == UINT32_MAX ? -1 : (int64_t)t->pss_kib * 1024;
}

static void fill_cell(hl_batch *batch, const hl_cell *c)
{
    uint32_t died = (uint32_t)c->key & 0xffff;
    hl_batch_cell *to = ADD(batch->cells);
    to->stat = (uint32_t)(c->key >> 32);
    to->born = (uint32_t)(c->key >> 16) & 0xffff;
    to->died = died == HL_CELL_ALIVE ? -1 : (int64_t)died;
    to->blocks = c->blocks;
    to->bytes = c->bytes;
}

void hl_books_fill(hl_books *books, hl_batch *batch, bool final, bool stopped)
{
    /* Rows that were touched get up to date, so that their cells are complete: what is alive adds up to the heap. */
    hl_rows *rows = &books->rows;
    if (books->forwarded)
        hl_settle_forwarded(books);
    for (uint32_t i = 0; i < rows->dirty_count; i++) {
        uint32_t row = rows->dirty[i];
        if (rows->row[row].stamp == HL_STAMP_FORWARD || !rows->key[row].process)
            continue;
        hl_row_refresh(books, books->processes[rows->key[row].process - 1], row);
        hl_row_settle(books, row); /* of the tick at hand too: the row may not be touched again */
    }

    batch->complete = books->coarsened;
    fill_meta(books, &batch->meta, final, stopped);
    for (uint32_t i = 0; i < books->process_count; i++) {
        hl_process *p = books->processes[i];
        if (p->changed || !p->ended) {
            fill_process(books, batch, p);
            p->changed = false;
        }
        if (final)
            hl_unseen_note(books, p);
        if (books->coarsened)
            p->ticks_sent = 0;
        for (; p->ticks_sent < p->tick_count; p->ticks_sent++)
            fill_tick(batch, p->id, &p->ticks[p->ticks_sent]);
    }
    for (uint32_t i = 1; i < books->group_count; i++) {
        hl_group *g = &books->groups[i];
        if (!g->changed)
            continue;
        g->changed = false;
        hl_batch_thread *to = ADD(batch->threads);
        *to = (hl_batch_thread){i, g->process, g->tid, g->threads, g->name, g->base, books->regions[g->region]};
    }
    hl_lines_fill(books, batch);
    hl_tree *tree = &books->tree;
    for (; tree->codes_sent + 1 < tree->codes; tree->codes_sent++) {
        const hl_code *c = &tree->code[tree->codes_sent + 1];
        hl_batch_code *to = ADD(batch->codes);
        *to = (hl_batch_code){tree->codes_sent + 1, c->python_version, c->first_line, c->file, c->name, c->table};
    }
    if (books->coarsened) {
        tree->sent = 0;
        for (uint32_t row = 1; row < rows->count; row++) {
            if (rows->row[row].stamp != HL_STAMP_FORWARD && rows->key[row].process)
                fill_stat(books, batch, row);
        }
        for (uint32_t i = 1; i < books->cells.count; i++)
            fill_cell(batch, &books->cells.cell[i]);
    } else {
        /* A new peak changes the shares of rows that nobody touches, too. */
        for (uint32_t row = 1; row < rows->count; row++) {
            if (rows->row[row].stamp != HL_STAMP_FORWARD && rows->key[row].process &&
                (rows->row[row].dirty || rows->key[row].told != share_sources(books, row)))
                fill_stat(books, batch, row);
        }
        for (uint32_t i = 0; i < books->cells.dirty_count; i++)
            fill_cell(batch, &books->cells.cell[books->cells.dirty[i]]);
    }
    for (uint32_t i = 0; i < rows->dirty_count; i++)
        rows->row[rows->dirty[i]].dirty = 0;
    rows->dirty_count = 0;
    for (uint32_t i = 0; i < books->cells.dirty_count; i++)
        books->cells.cell[books->cells.dirty[i]].dirty = 0;
    books->cells.dirty_count = 0;
    for (; tree->sent < tree->count; tree->sent++) { /* after the rows: they may have made one */
        const hl_node *n = &tree->node[tree->sent];
        hl_batch_node *to = ADD(batch->nodes);
        *to = (hl_batch_node){tree->sent, n->parent, n->kind, n->code, n->instruction};
    }
    for (; books->marks_sent < books->mark_count; books->marks_sent++) {
        hl_batch_mark *to = ADD(batch->marks);
        *to = (hl_batch_mark){books->marks[books->marks_sent].time_ns, books->marks[books->marks_sent].process,
                              books->marks[books->marks_sent].kind, books->marks[books->marks_sent].name};
    }
    for (; books->notes_sent < books->note_count; books->notes_sent++) {
        hl_batch_note *to = ADD(batch->notes);
        *to = (hl_batch_note){books->notes[books->notes_sent].process, books->notes[books->notes_sent].text};
    }
    books->coarsened = false;
    hl_books_new_epoch(books); /* rows that change from here on are dirty again */
}
