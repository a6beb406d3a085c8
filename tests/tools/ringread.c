/*
 * ringread PROGRAM ARGS.. - runs a program with the tracker and reads its rings as plainly as can be: a second reader,
 * beside the collector, that tests of the tracker alone can trust because it does nothing clever.
 *
 * One pass: all heads (H1), the order word (E), all heads again (H2); every word that may be applied is put into a list
 * with its epoch, the list is sorted by (epoch, place), and applied to a table of live blocks. Prints one line of JSON.
 * RINGREAD_TRACKER=path of libheapline.so, RINGREAD_CHUNKS=n, RINGREAD_WORDS=1 prints every word, RINGREAD_OBJECTS=1 also records
 * Python objects, RINGREAD_LINES=what hl_session.lines says. One process only.
 */
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct reader {
    uint64_t at; /* in the program's addresses; 0: no chunk */
    uint64_t epoch, h1, h2, size, moving, moving_size;
    bool has_moving, wanted, ended;
} reader;

typedef struct event {
    uint64_t epoch, place;
    uint32_t writer;
    uint32_t count;
    uint64_t words[6];
} event;

static hl_session *s;
static uint64_t base; /* where the program has the session */
static reader readers[HL_MAX_WRITERS];
static event *events;
static size_t event_count, event_room;
static uint64_t allocations, frees, allocated, freed, unknown, live, peak, total, reclaimed, texts, overwritten;
static bool print_words;

/* Lines of profiled functions: each counts once what happens while it is on the stack of the writer's thread. */
enum { DEPTH = HL_LINE_DEPTH_MOST, FUNCTIONS = 1024, IDS = 128 * HL_LINES_A_CHUNK };
typedef struct function {
    uint32_t first_id, count, first_line;
    uint64_t flags;
    char name[256];
} function;
static function functions[FUNCTIONS];
static uint32_t function_count;
static struct {
    uint32_t ids[DEPTH], depth;
} * stacks; /* of each writer */
static struct {
    uint64_t allocated, freed, allocations, words;
} lines[IDS];
static uint64_t bad_lines; /* words that make no sense */

static void line_word(uint32_t writer, uint64_t word)
{
    uint32_t depth = (uint32_t)(word >> 32) & 0xffff, id = (uint32_t)word;
    if (depth > stacks[writer].depth || depth >= DEPTH || id > IDS) {
        bad_lines++;
        return;
    }
    stacks[writer].depth = depth;
    if (id) {
        stacks[writer].ids[stacks[writer].depth++] = id - 1;
        lines[id - 1].words++;
    }
}

static void functions_word(const uint64_t *w)
{
    if (function_count == FUNCTIONS)
        return;
    function *f = &functions[function_count++];
    *f = (function){.first_id = (uint32_t)w[1],
                    .count = (uint32_t)(w[2] >> 32) & 0xffff,
                    .first_line = (uint32_t)w[2],
                    .flags = w[2] >> 48};
    snprintf(f->name, sizeof f->name, "%.*s", (int)w[3], (const char *)(w + 4));
}

/* A block came (+) or went (-). */
static void count_lines(uint32_t writer, uint64_t size, bool came)
{
    for (uint32_t i = 0; i < stacks[writer].depth; i++) {
        uint32_t id = stacks[writer].ids[i];
        bool seen = false;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = stacks[writer].ids[k] == id;
        if (seen)
            continue;
        if (came) {
            lines[id].allocated += size;
            lines[id].allocations++;
        } else {
            lines[id].freed += size;
        }
    }
}

static void print_lines(void)
{
    printf("\"bad_lines\": %lu, \"functions\": [", bad_lines);
    for (uint32_t i = 0; i < function_count; i++) {
        const function *f = &functions[i];
        printf("%s{\"name\": \"%s\", \"flags\": %lu, \"lines\": {", i ? ", " : "", f->name, f->flags);
        const char *comma = "";
        for (uint32_t k = 0; k < f->count; k++) {
            uint32_t id = f->first_id + k;
            const hl_wire_line *l = hl_chunk_line(hl_session_chunk(s, id / HL_LINES_A_CHUNK), id);
            if (!atomic_load(&l->hits) && !lines[id].words)
                continue;
            printf(
                "%s\"%u\": {\"hits\": %lu, \"allocated\": %lu, \"freed\": %lu, \"allocations\": %lu, \"words\": %lu, "
                "\"rss\": %lu}",
                comma, f->first_line + k, atomic_load(&l->hits), lines[id].allocated, lines[id].freed,
                lines[id].allocations, lines[id].words, atomic_load(&l->rss_peak));
            comma = ", ";
        }
        printf("}}");
    }
    printf("], ");
}

typedef struct block {
    uint64_t address, size;
} block;
static block *table;
static uint64_t table_mask = (1 << 22) - 1, blocks;

static uint64_t place_of(uint64_t address) { return (address * UINT64_C(0x9e3779b97f4a7c15) >> 20) & table_mask; }

static block *find(uint64_t address)
{
    uint64_t i = place_of(address);
    while (table[i].address && table[i].address != address)
        i = (i + 1) & table_mask;
    return &table[i];
}

static bool take(uint64_t address, uint64_t *size)
{
    block *b = find(address);
    if (!b->address)
        return false;
    *size = b->size;
    blocks--;
    uint64_t i = (uint64_t)(b - table);
    for (uint64_t j = i;;) {
        j = (j + 1) & table_mask;
        if (!table[j].address)
            break;
        if (((j - place_of(table[j].address)) & table_mask) >= ((j - i) & table_mask)) {
            table[i] = table[j];
            i = j;
        }
    }
    table[i].address = 0;
    return true;
}

static void put(uint64_t address, uint64_t size)
{
    block *b = find(address);
    if (b->address) {
        overwritten++;
        live -= b->size;
    } else {
        blocks++;
    }
    *b = (block){address, size};
    live += size;
    allocations++;
    allocated += size;
    if (live > peak)
        peak = live;
    if (blocks * 2 > table_mask) {
        fprintf(stderr, "ringread: too many live blocks\n");
        exit(1);
    }
}

static void release(uint64_t size)
{
    live -= size;
    frees++;
    freed += size;
}

static void apply(const event *e)
{
    reader *r = &readers[e->writer];
    for (uint32_t i = 0; i < e->count; i++) {
        uint64_t word = e->words[i], size = hl_word_size(word) == HL_SIZE_MAX ? r->size : hl_word_size(word), had;
        hl_word_kind kind = hl_word_kind_of(word);
        if (print_words)
            printf("%u %llu: kind %d address %llx size %llu\n", e->writer, (unsigned long long)e->epoch, kind,
                   (unsigned long long)hl_word_address(word), (unsigned long long)size);
        if (kind == HL_WORD_SIZE) {
            r->size = word & HL_PAYLOAD;
        } else if (kind == HL_WORD_FREE) {
            if (take(hl_word_address(word), &had)) {
                release(had);
                count_lines(e->writer, had, false);
            } else {
                unknown++;
            }
        } else if (kind == HL_WORD_LINE) {
            line_word(e->writer, word);
        } else if (kind >= HL_WORD_ALLOC && kind <= HL_WORD_ALLOC_LAST) {
            put(hl_word_address(word), size);
            count_lines(e->writer, size, true);
        } else if (kind == HL_WORD_MOVE) {
            r->has_moving = take(hl_word_address(word), &r->moving_size);
            r->moving = hl_word_address(word);
            unknown += !r->has_moving;
        } else if (kind >= HL_WORD_MOVED_REALLOC && kind <= HL_WORD_MOVED_PYRAW) {
            if (r->has_moving) {
                release(r->moving_size);
                count_lines(e->writer, r->moving_size, false);
            }
            r->has_moving = false;
            put(hl_word_address(word), size);
            count_lines(e->writer, size, true);
        } else if (kind == HL_WORD_MOVE_FAILED) {
            if (r->has_moving) {
                *find(r->moving) = (block){r->moving, r->moving_size};
                blocks++;
            }
            r->has_moving = false;
        }
    }
}

static hl_wire_chunk *chunk_before(uint64_t at)
{
    uint64_t chunks = base + HL_CHUNKS_AT;
    return (hl_wire_chunk *)((char *)s + HL_CHUNKS_AT + (at - 8 - chunks) / HL_CHUNK_BYTES * HL_CHUNK_BYTES);
}
static uint64_t theirs(const void *p) { return (uint64_t)p - (uint64_t)s + base; }
static void *ours(uint64_t p) { return (void *)(p - base + (uint64_t)s); }

static void give_back(hl_wire_chunk *c)
{
    uint64_t top = atomic_load(&s->pool), next;
    atomic_store(&c->owner, 0);
    do {
        atomic_store(&c->next, (uint32_t)top);
        next = ((top >> 32) + 1) << 32 | (c->index + 1);
    } while (!atomic_compare_exchange_weak(&s->pool, &top, next));
    atomic_fetch_sub(&s->out, 1);
    atomic_fetch_add(&s->freed, 1);
    if (atomic_load(&s->waiting))
        syscall(SYS_futex, &s->freed, FUTEX_WAKE, 1, 0, 0, 0);
}

static unsigned words_of(const uint64_t *w)
{
    switch (hl_word_kind_of(*w)) {
    case HL_WORD_NODE:
    case HL_WORD_REMAP:
        return 4;
    case HL_WORD_MAP:
    case HL_WORD_UNMAP:
    case HL_WORD_COMMIT:
    case HL_WORD_WAITED:
        return 2;
    case HL_WORD_TEXT:
        return 1 + ((unsigned)*w + 7) / 8;
    case HL_WORD_EXEC:
        return 1 + (unsigned)((*w & HL_PAYLOAD) + 7) / 8;
    case HL_WORD_CODE:
        return 3 + ((unsigned)w[2] + 7) / 8;
    case HL_WORD_LINES:
        return 4 + ((unsigned)w[3] + 7) / 8;
    default:
        return 1;
    }
}

static void keep(reader *r, const uint64_t *w, unsigned count, uint64_t place)
{
    if (event_count == event_room) {
        event_room = event_room ? event_room * 2 : 1 << 16;
        events = realloc(events, event_room * sizeof *events);
    }
    event *e = &events[event_count++];
    *e = (event){.epoch = r->epoch, .place = place, .writer = (uint32_t)(r - readers), .count = count};
    memcpy(e->words, w, count * 8);
}

/* `restart` is taken note of, so that the writer may let go again. */
static uint64_t take_restart(hl_wire_writer *w)
{
    uint64_t restart = atomic_load(&w->restart);
    atomic_store(&w->restart, 0);
    return restart + 32;
}

/* Reads on to `head`, up to and without the first word of epoch `end_epoch`. */
static void read_to(reader *r, uint64_t head, uint64_t end_epoch)
{
    for (;;) {
        hl_wire_chunk *c = chunk_before(r->at); /* `at` is at least 32 behind its start */
        uint64_t in_chunk = theirs(c);
        bool last = head > in_chunk && head <= in_chunk + HL_CHUNK_BYTES;
        hl_wire_writer *w = hl_session_writer(s, (uint32_t)(r - readers));
        uint64_t next = last ? 0 : atomic_load(&c->next);
        uint64_t end = last ? head : next ? atomic_load(&c->used) : atomic_load(&w->left);
        while (r->at < end) {
            const uint64_t *word = ours(r->at);
            if (hl_word_kind_of(*word) == HL_WORD_EPOCH) {
                if ((*word & HL_PAYLOAD) >= end_epoch)
                    return;
                r->epoch = *word & HL_PAYLOAD;
            } else if (r->epoch >= end_epoch) {
                return;
            }
            unsigned n = words_of(word);
            if (hl_word_kind_of(*word) == HL_WORD_TEXT)
                texts++;
            else if (hl_word_kind_of(*word) == HL_WORD_LINES)
                functions_word(word);
            else if (n == 1)
                keep(r, word, 1, total);
            total++;
            r->at += n * 8;
        }
        if (last)
            return;
        give_back(c);
        r->at =
            next ? next + 32 : take_restart(w); /* none in the chunk: the writer had let go of it, or been asked to */
        r->wanted = false;
    }
}

static bool has_chunk(reader *r, hl_wire_writer *w)
{
    if (!r->at && atomic_load(&w->end))
        r->at = take_restart(w);
    return r->at;
}

static int by_order(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static uint64_t pass(void)
{
    uint32_t used = atomic_load(&s->writers_used);
    event_count = 0;
    for (uint32_t i = 0; i < used; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        readers[i].h1 = readers[i].h2 = 0;
        if (atomic_load(&w->state) != HL_WRITER_FREE && has_chunk(&readers[i], w))
            readers[i].h1 = atomic_load(&w->head);
    }
    uint64_t epoch = atomic_load(&hl_session_process(s, 0)->order) >> 16;
    for (uint32_t i = 0; i < used; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        reader *r = &readers[i];
        uint32_t state = atomic_load(&w->state);
        if (state == HL_WRITER_FREE)
            continue;
        if (has_chunk(r, w)) {
            r->h2 = atomic_load(&w->head);
            if (r->h1)
                read_to(r, r->h1, epoch + 1);
            read_to(r, r->h2, epoch);
        }
        if (state == HL_WRITER_ENDED && (!r->at || r->at == atomic_load(&w->head))) {
            r->ended = true;
        }
    }
    qsort(events, event_count, sizeof *events, by_order);
    for (size_t i = 0; i < event_count; i++)
        apply(&events[i]);
    for (uint32_t i = 0; i < used; i++) {
        if (!readers[i].ended)
            continue;
        if (readers[i].at)
            give_back(chunk_before(readers[i].at));
        readers[i] = (reader){0};
        stacks[i].depth = 0;
        atomic_store(&hl_session_writer(s, i)->end, 0);
        atomic_store(&hl_session_writer(s, i)->state, HL_WRITER_FREE);
    }
    if (event_count)
        atomic_fetch_add(&s->progress, 1);
    return event_count;
}

static void reclaim(void)
{
    uint32_t used = atomic_load(&s->writers_used);
    for (uint32_t i = 0; i < used; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        if (readers[i].at && readers[i].at == atomic_load(&w->head)) {
            atomic_store(&w->end, 0);
            readers[i].wanted = true;
        }
    }
    syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
    for (uint32_t i = 0; i < used; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        reader *r = &readers[i];
        if (!r->wanted || atomic_load(&w->end) || r->at != atomic_load(&w->head) ||
            (atomic_load(&w->open) && atomic_load(&w->left) != (r->at | 1)))
            continue;
        give_back(chunk_before(r->at));
        r->at = 0;
        r->wanted = false;
        reclaimed++;
    }
}

int main(int argc, char **argv)
{
    const char *tracker = getenv("RINGREAD_TRACKER"), *text = getenv("RINGREAD_CHUNKS");
    if (argc < 2 || !tracker)
        return 2;
    uint32_t chunks = text ? (uint32_t)atoi(text) : 128;
    print_words = getenv("RINGREAD_WORDS");
    table = calloc(table_mask + 1, sizeof *table);
    stacks = calloc(HL_MAX_WRITERS, sizeof *stacks);
    int fd = memfd_create("ringread", 0);
    if (ftruncate(fd, (off_t)hl_session_bytes(chunks)))
        return 1;
    s = mmap(0, hl_session_bytes(chunks), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    s->version = HL_WIRE_VERSION;
    s->chunks = chunks;
    s->bytes = hl_session_bytes(chunks);
    s->wake_at = chunks / 2;
    s->root_any = 1;
    s->python_objects = getenv("RINGREAD_OBJECTS") != NULL;
    snprintf(s->lines, sizeof s->lines, "%s", getenv("RINGREAD_LINES") ? getenv("RINGREAD_LINES") : "");
    s->children = HL_CHILDREN_PYTHON;
    snprintf(s->preload, sizeof s->preload, "%s", tracker);
    for (uint32_t i = 0; i < chunks; i++) {
        hl_wire_chunk *c = hl_session_chunk(s, i);
        c->index = i;
        c->next = i + 1 < chunks ? i + 2 : 0;
    }
    s->pool = 1;
    s->collector = (uint32_t)getpid();
    s->magic = HL_WIRE_MAGIC;

    char locator[64];
    snprintf(locator, sizeof locator, "/proc/%d/fd/%d", (int)getpid(), fd);
    pid_t child = fork();
    if (child == 0) {
        setenv(HL_ENV_SESSION, locator, 1);
        setenv("LD_PRELOAD", tracker, 1);
        s->root_pid = (uint32_t)getpid();
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    int status = 0;
    bool ended = false;
    for (;;) {
        hl_wire_process *p = hl_session_process(s, 0);
        if (!ended && waitpid(child, &status, WNOHANG) == child)
            ended = true;
        bool was_ended = ended;
        bool joined = atomic_load(&p->state) > HL_PROCESS_JOINING;
        base = p->base; /* valid once it has joined */
        uint64_t done = joined ? pass() : 0;
        if (was_ended && !done)
            break;
        if (atomic_load(&s->out) >= chunks * 3 / 4 || atomic_load(&s->waiting))
            reclaim();
        if (!done) {
            struct timespec limit = {0, 1000000};
            atomic_store(&s->sleeping, 1);
            if (!atomic_load(&s->waiting))
                syscall(SYS_futex, &s->sleeping, FUTEX_WAIT, 1, &limit, 0, 0);
            atomic_store(&s->sleeping, 0);
        }
    }
    hl_wire_process *p = hl_session_process(s, 0);
    uint64_t waited = 0;
    for (uint32_t i = 0; i < atomic_load(&s->writers_used); i++)
        waited += atomic_load(&hl_session_writer(s, i)->waited_ns);
    printf("{");
    print_lines();
    printf("\"allocations\": %lu, \"allocated_bytes\": %lu, \"frees\": %lu, \"freed_bytes\": %lu, \"live_bytes\": %lu, "
           "\"live_blocks\": %lu, \"peak_bytes\": %lu, \"unknown_frees\": %lu, \"overwritten\": %lu, \"lost\": %lu, "
           "\"epochs\": %lu, \"words\": %lu, \"texts\": %lu, \"writers_used\": %u, \"out\": %u, \"reclaimed\": %lu, "
           "\"waited_ms\": %.1f, \"exit_status\": %d, \"state\": %u, \"status\": %d, \"reason\": \"%s\", \"command\": "
           "\"%s\"}\n",
           allocations, allocated, frees, freed, live, blocks, peak, unknown, overwritten, atomic_load(&p->lost),
           atomic_load(&p->order) >> 16, total, texts, atomic_load(&s->writers_used), atomic_load(&s->out), reclaimed,
           (double)waited * 1e-6, atomic_load(&p->exit_status), atomic_load(&p->state), status, p->reason, p->command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
