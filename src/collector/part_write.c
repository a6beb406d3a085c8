/*
 * part_write.c - a profile of a process's part (part.h): the process as if its recording had begun there. The rows are copied
 * on the collector's thread, as for a checkpoint; a thread for each such profile writes it, so that nothing waits for a disk
 * or for the names of native frames.
 */
#include "books.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *add(void *rows, size_t row_bytes)
{
    void *row = hl_rows_add(rows, row_bytes);
    if (!row)
        hl_no_memory();
    return row;
}
#define ADD(rows) add(&(rows), sizeof *(rows).row)

static void fill_totals(const hl_books *books, const hl_process *p, hl_batch *batch)
{
    const hl_part *part = p->part;
    hl_batch_meta *meta = &batch->meta;
    meta->now_ns = books->now_ns - part->start_ns;
    meta->final = meta->stopped = true;
    meta->allocations = part->allocations;
    meta->allocated = part->allocated;
    meta->frees = part->allocations - part->blocks;
    meta->freed = part->allocated - part->heap;
    meta->live = part->heap;
    meta->live_blocks = part->blocks;
    meta->peak = meta->peak_bound = part->peak;
    meta->peak_ns = part->peak_ns - part->start_ns;
    meta->peak_blocks = part->peak_blocks;
    meta->events = meta->allocations + meta->frees;
    meta->lost = p->lost;
    meta->tick_ns = (uint64_t)books->tick_ms * 1000000;
    meta->cell_tick_ns = (uint64_t)books->cells.tick_ms * 1000000;

    hl_batch_process *to = ADD(batch->processes);
    to->id = 1;
    to->pid = p->pid;
    to->parent_pid = p->parent_pid;
    to->born_by = p->born_by;
    to->command = p->command;
    to->executable = p->executable;
    to->reason = p->reason;
    to->python_version = p->python_version;
    to->python_flags = p->python_flags;
    to->recording = p->recording;
    to->allocations = meta->allocations;
    to->allocated = meta->allocated;
    to->frees = meta->frees;
    to->freed = meta->freed;
    to->live = meta->live;
    to->live_blocks = meta->live_blocks;
    to->peak = meta->peak;
    to->peak_ns = meta->peak_ns;
    to->peak_blocks = meta->peak_blocks;
    to->lost = p->lost;
}

static void fill_threads(const hl_books *books, const hl_process *p, hl_batch *batch)
{
    for (uint32_t i = 1; i < books->group_count; i++) {
        const hl_group *g = &books->groups[i];
        if (g->process != p->id)
            continue;
        hl_batch_thread *to = ADD(batch->threads);
        *to = (hl_batch_thread){i, 1, g->tid, g->threads, g->name, g->base, books->regions[g->region]};
    }
}

static void fill_row(const hl_part *part, const hl_part_row *r, const hl_key *key, uint32_t node, hl_batch *batch)
{
    hl_batch_stat *to = ADD(batch->stats);
    bool saved = !part->rising && r->peak_number == part->peak_number;
    to->id = r->row;
    to->node = node;
    to->process = 1;
    to->thread = key->thread;
    to->allocator = key->allocator;
    to->allocations = r->allocations;
    to->allocated = r->allocated;
    to->frees = r->allocations - r->live_blocks;
    to->freed = r->allocated - r->live;
    to->live = (int64_t)r->live;
    to->live_blocks = r->live_blocks;
    to->peak = to->tree_peak = (int64_t)(saved ? r->peak : r->live);
    to->peak_blocks = to->tree_peak_blocks = saved ? r->peak_blocks : r->live_blocks;
    to->largest = r->largest;
    if (hl_batch_pack(batch, to, &r->histograms) != 0)
        hl_no_memory();
}

/* Nodes and code objects get new numbers, in the old order: a parent's is below its children's. */
static void fill_tree(const hl_tree *tree, uint32_t *node_to, hl_batch *batch)
{
    uint32_t *code_to = hl_zeroed(tree->codes * sizeof *code_to), nodes = 0, codes = 0;
    for (uint32_t i = 0; i < tree->count; i++) {
        if (!node_to[i])
            continue;
        const hl_node *n = &tree->node[i];
        if (n->code && !code_to[n->code]) {
            const hl_code *c = &tree->code[n->code];
            code_to[n->code] = ++codes;
            hl_batch_code *to = ADD(batch->codes);
            *to = (hl_batch_code){codes, c->python_version, c->first_line, c->file, c->name, c->table};
        }
        node_to[i] = nodes++;
        hl_batch_node *to = ADD(batch->nodes);
        *to = (hl_batch_node){node_to[i], i ? node_to[n->parent] : 0, n->kind, code_to[n->code], n->instruction};
    }
    free(code_to);
}

static void fill(hl_books *books, hl_process *p, hl_batch *batch)
{
    const hl_part *part = p->part;
    fill_totals(books, p, batch);
    fill_threads(books, p, batch);
    hl_tree *tree = &books->tree;
    uint32_t deeper = hl_tree_node(tree, HL_NODE_TOP, HL_NODE_DEEPER, 0, 0);
    uint32_t *node_to = hl_zeroed(tree->count * sizeof *node_to); /* 1: is needed; then its number */
    node_to[HL_NODE_TOP] = node_to[HL_NODE_PLAIN] = node_to[deeper] = 1;
    for (uint32_t i = 0; i < part->count; i++) {
        uint32_t node = part->row[i].row ? books->rows.key[part->row[i].row].node : 0;
        for (node = node & HL_STAND_IN ? 0 : node; node && !node_to[node]; node = tree->node[node].parent)
            node_to[node] = 1;
    }
    fill_tree(tree, node_to, batch);
    for (uint32_t i = 0; i < part->count; i++) {
        const hl_part_row *r = &part->row[i];
        if (!r->row)
            continue;
        const hl_key *key = &books->rows.key[r->row];
        fill_row(part, r, key, node_to[key->node & HL_STAND_IN ? deeper : key->node], batch);
    }
    free(node_to);
    static const char text[] =
        "this profile is of a part of a recording: it has totals and call stacks, and no timeline";
    hl_batch_note *note = ADD(batch->notes);
    *note = (hl_batch_note){.text = {text, sizeof text - 1}};
}

/* On a thread of its own. */
static void *write_it(void *argument)
{
    hl_part_job *job = argument;
    hl_profile_writer *writer;
    int error = hl_profile_writer_open(&writer, job->path, job->identity);
    if (!error) {
        error = hl_profile_writer_apply(writer, &job->batch);
        if (!error)
            error = access(job->path, F_OK) == 0 ? -EEXIST : hl_profile_writer_publish(writer, true);
        hl_profile_writer_close(writer);
    }
    job->error = -error;
    atomic_store(&job->done, 1);
    return NULL;
}

void hl_part_finish_job(hl_part *part)
{
    hl_part_job *job = part->job;
    if (!job)
        return;
    if (job->has_thread)
        pthread_join(job->thread, NULL);
    part->error = job->error;
    part->written++;
    part->job = NULL;
    hl_batch_release(&job->batch);
    free(job->identity);
    free(job->path);
    free(job);
}

void hl_part_write(hl_books *books, hl_process *process, const char *path)
{
    hl_part *part = process->part;
    if (!part)
        return;
    hl_part_finish_job(part);
    hl_part_job *job = part->job = hl_zeroed(sizeof *job);
    job->path = hl_resized(NULL, strlen(path) + 1);
    strcpy(job->path, path);
    job->identity = hl_resized(NULL, sizeof *job->identity);
    *job->identity = *books->identity;
    job->identity->start_unix_ns += part->start_ns;
    job->identity->native = false; /* what reads symbols is started when a native frame comes */
    if (*path != '/') {
        job->error = EINVAL;
        return;
    }
    fill(books, process, &job->batch);
    job->error = pthread_create(&job->thread, NULL, write_it, job);
    job->has_thread = job->error == 0;
}

void hl_part_publish(hl_part *part, hl_wire_part *to)
{
    if (part->job && (!part->job->has_thread || atomic_load(&part->job->done)))
        hl_part_finish_job(part);
    atomic_store_explicit(&to->heap, part->heap, memory_order_relaxed);
    atomic_store_explicit(&to->blocks, part->blocks, memory_order_relaxed);
    atomic_store_explicit(&to->peak, part->peak, memory_order_relaxed);
    atomic_store_explicit(&to->allocations, part->allocations, memory_order_relaxed);
    atomic_store_explicit(&to->allocated, part->allocated, memory_order_relaxed);
    atomic_store_explicit(&to->temporary, part->temporary, memory_order_relaxed);
    atomic_store_explicit(&to->temporary_bytes, part->temporary_bytes, memory_order_relaxed);
    atomic_store_explicit(&to->number, part->number, memory_order_relaxed);
    atomic_store_explicit(&to->error, part->error, memory_order_relaxed);
    atomic_store_explicit(&to->written, part->written, memory_order_release);
}
