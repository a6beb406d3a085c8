/*
 * stackread PROGRAM ARGS.. - runs a program with the tracker and prints the stack of every block whose size is one of
 * STACKREAD_FROM .. (100000) below STACKREAD_TO (130000): "T size|function file:line|..", innermost first. A reader of the
 * rings for tests of Python stacks, which names each event's own stack where a profile has sums.
 *
 * Environment: RINGREAD_TRACKER (path of libheapline.so), STACKREAD_OBJECTS=1, STACKREAD_MARKS=1, STACKREAD_OUT (file),
 * STACKREAD_ALL=1: every block, STACKREAD_NATIVE=1: C frames too, as "~ object+offset". The last line is JSON. Order between threads does not matter here and is not kept.
 */
#include "wire.h"

#include "linetable.h"

#include <linux/futex.h>
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
    uint64_t at, size, stacks[HL_STACK_SLOTS], moving;
} reader;
typedef struct node {
    uint64_t id, parent, code, where; /* where: version << 32 | offset */
} node;
typedef struct code {
    uint64_t address;
    uint32_t version, total, have;
    char *bytes;
} code;
typedef struct seen {
    uint64_t size, node;
    int tid, kind;
} seen;

enum { NODES = 1 << 22, CODES = 1 << 18 };
static hl_session *s;
static uint64_t base;
static reader readers[HL_MAX_WRITERS];
static node *nodes;
static code *codes;
static seen *blocks;
static size_t block_count, block_room;
static uint64_t from = 100000, to = 130000, contradictions, node_words, code_words, texts, words, kinds[32], bytes[32],
                heap[HL_MAP_CLASSES];
static bool all;

static node *find_node(uint64_t id)
{
    uint64_t i = id % NODES;
    while (nodes[i].id && nodes[i].id != id)
        i = (i + 1) % NODES;
    return &nodes[i];
}

static code *find_code(uint64_t address, uint32_t version)
{
    uint64_t i = (address ^ (uint64_t)version * 0x9e3779b97f4a7c15u) * 0x9e3779b97f4a7c15u >> 46;
    while (codes[i].address && (codes[i].address != address || codes[i].version != version))
        i = (i + 1) % CODES;
    return &codes[i];
}

static void add_code(const uint64_t *w)
{
    uint64_t address = *w & HL_PAYLOAD;
    uint32_t version = (uint32_t)(w[1] >> 32), total = (uint32_t)w[1], offset = (uint32_t)(w[2] >> 32),
             n = (uint32_t)w[2];
    code *c = find_code(address, version);
    code_words++;
    if (!c->address)
        *c = (code){address, version, total, 0, calloc(1, total)};
    if (total != c->total || offset + n > total) {
        contradictions++;
        return;
    }
    if (offset < c->have && memcmp(c->bytes + offset, w + 3, n) != 0)
        contradictions++;
    memcpy(c->bytes + offset, w + 3, n);
    if (offset + n > c->have)
        c->have = offset + n;
}

static void add_block(reader *r, uint64_t word, int tid)
{
    uint64_t size = hl_word_size(word) == HL_SIZE_MAX ? r->size : hl_word_size(word);
    bytes[hl_word_kind_of(word)] += size;
    if (!all && (size < from || size >= to))
        return;
    if (block_count == block_room) {
        block_room = block_room ? 2 * block_room : 1 << 16;
        blocks = realloc(blocks, block_room * sizeof *blocks);
    }
    blocks[block_count++] = (seen){size, r->stacks[hl_word_slot(word)], tid, hl_word_kind_of(word)};
}

static unsigned take(reader *r, const uint64_t *w, int tid)
{
    hl_word_kind kind = hl_word_kind_of(*w);
    uint64_t payload = *w & HL_PAYLOAD;
    words++;
    kinds[kind]++;
    switch (kind) {
    case HL_WORD_NODE: {
        node *n = find_node(payload);
        node_words++;
        if (n->id && (n->parent != w[1] || n->code != w[2] || n->where != w[3]))
            contradictions++;
        *n = (node){payload, w[1], w[2], w[3]};
        return 4;
    }
    case HL_WORD_CODE:
        add_code(w);
        return 3 + ((unsigned)w[2] + 7) / 8;
    case HL_WORD_TEXT:
        texts++;
        if (getenv("STACKREAD_TEXTS"))
            printf("text %d %u %.*s\n", tid, (unsigned)(payload >> 32), (int)(uint32_t)payload, (const char *)(w + 1));
        return 1 + ((unsigned)*w + 7) / 8;
    case HL_WORD_EXEC:
        return 1 + (unsigned)(payload + 7) / 8;
    case HL_WORD_SIZE:
        r->size = payload;
        return 1;
    case HL_WORD_STACK:
        r->stacks[payload % HL_STACK_SLOTS] = payload;
        return 1;
    case HL_WORD_MAP:
        heap[payload & 7] += w[1];
        return 2;
    case HL_WORD_UNMAP:
    case HL_WORD_COMMIT:
    case HL_WORD_WAITED:
        return 2;
    case HL_WORD_REMAP:
        return 4;
    default:
        if ((kind >= HL_WORD_ALLOC && kind <= HL_WORD_ALLOC_LAST) ||
            (kind >= HL_WORD_MOVED_REALLOC && kind <= HL_WORD_MOVED_PYRAW))
            add_block(r, *w, tid);
        return 1;
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
        syscall(SYS_futex, &s->freed, FUTEX_WAKE, INT32_MAX, 0, 0, 0);
}

static bool pass(void)
{
    bool any = false;
    uint32_t used = atomic_load(&s->writers_used);
    for (uint32_t i = 0; i < used; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        reader *r = &readers[i];
        uint32_t state = atomic_load(&w->state);
        if (state == HL_WRITER_FREE || (!r->at && !atomic_load(&w->end)))
            continue;
        if (!r->at)
            r->at = atomic_load(&w->restart) + 32;
        uint64_t head = atomic_load(&w->head);
        while (r->at != head) {
            hl_wire_chunk *c = chunk_before(r->at);
            uint64_t in_chunk = theirs(c);
            bool last = head > in_chunk && head <= in_chunk + HL_CHUNK_BYTES;
            uint64_t end = last ? head : atomic_load(&c->used);
            while (r->at < end)
                r->at += 8 * take(r, ours(r->at), w->tid);
            any = true;
            if (last)
                break;
            uint64_t next = atomic_load(&c->next);
            give_back(c);
            r->at = next + 32;
        }
        if (state == HL_WRITER_ENDED && r->at == atomic_load(&w->head)) {
            give_back(chunk_before(r->at));
            readers[i] = (reader){0};
            atomic_store(&w->end, 0);
            atomic_store(&w->state, HL_WRITER_FREE);
        }
    }
    if (any)
        atomic_fetch_add(&s->progress, 1);
    return any;
}

static unsigned print_stack(FILE *out, uint64_t id)
{
    unsigned missing = 0;
    uint64_t root = HL_ROOT_NODE(0);
    for (; id != root; id = find_node(id)->parent) {
        node *n = find_node(id);
        code *c = n->id ? find_code(n->code, (uint32_t)(n->where >> 32)) : NULL;
        if (!c || !c->address || c->have != c->total) {
            fprintf(out, "|MISSING %s", !c ? "node" : "code");
            return missing + 1;
        }
        hl_wire_code h;
        memcpy(&h, c->bytes, sizeof h);
        const char *file = c->bytes + sizeof h, *name = file + h.file_bytes, *table = name + h.name_bytes;
        if (h.flags & HL_CODE_NATIVE) {
            fprintf(out, "|~ %.*s+%#x", (int)h.file_bytes, file, (unsigned)n->where);
            continue;
        }
        hl_position p = hl_linetable_find(h.python_version, (const uint8_t *)table, h.table_bytes, h.first_line,
                                          (uint32_t)n->where);
        fprintf(out, "|%.*s %.*s:%d", (int)h.name_bytes, name, (int)h.file_bytes, file, p.line);
    }
    return missing;
}

int main(int argc, char **argv)
{
    const char *tracker = getenv("RINGREAD_TRACKER"), *out_name = getenv("STACKREAD_OUT");
    if (argc < 2 || !tracker)
        return 2;
    uint32_t chunks = 128;
    all = getenv("STACKREAD_ALL");
    const char *from_text = getenv("STACKREAD_FROM"), *to_text = getenv("STACKREAD_TO");
    from = from_text ? strtoull(from_text, NULL, 10) : from;
    to = to_text ? strtoull(to_text, NULL, 10) : to;
    nodes = calloc(NODES, sizeof *nodes);
    codes = calloc(CODES, sizeof *codes);
    int fd = memfd_create("stackread", 0);
    if (ftruncate(fd, (off_t)hl_session_bytes(chunks)))
        return 1;
    s = mmap(0, hl_session_bytes(chunks), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    s->version = HL_WIRE_VERSION;
    s->chunks = chunks;
    s->bytes = hl_session_bytes(chunks);
    s->wake_at = chunks / 2;
    s->root_any = 1;
    s->children = HL_CHILDREN_NONE;
    s->python_objects = getenv("STACKREAD_OBJECTS") != NULL;
    s->marks = getenv("STACKREAD_MARKS") != NULL;
    s->native = getenv("STACKREAD_NATIVE") != NULL;
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
    hl_wire_process *p = hl_session_process(s, 0);
    for (;;) {
        if (!ended && waitpid(child, &status, WNOHANG) == child)
            ended = true;
        bool was_ended = ended;
        bool joined = atomic_load(&p->state) > HL_PROCESS_JOINING;
        base = p->base; /* valid once it has joined */
        bool done = joined && pass();
        if (was_ended && !done)
            break;
        if (!done) {
            struct timespec limit = {0, 1000000};
            atomic_store(&s->sleeping, 1);
            if (!atomic_load(&s->waiting))
                syscall(SYS_futex, &s->sleeping, FUTEX_WAIT, 1, &limit, 0, 0);
            atomic_store(&s->sleeping, 0);
        }
    }
    uint64_t missing = 0;
    FILE *out = out_name ? fopen(out_name, "w") : stdout;
    for (size_t i = 0; i < block_count; i++) {
        if (all)
            fprintf(out, "%d kind %d ", blocks[i].tid, blocks[i].kind);
        fprintf(out, "T %lu", blocks[i].size);
        missing += print_stack(out, blocks[i].node);
        fprintf(out, "\n");
    }
    if (out_name)
        fclose(out);
    uint64_t made = 0, made_bytes = 0, objects = 0;
    for (unsigned k = HL_WORD_ALLOC; k <= HL_WORD_MOVED_PYRAW; k++) {
        if (k == HL_WORD_MOVE)
            continue;
        made += kinds[k];
        made_bytes += bytes[k];
    }
    for (unsigned k = HL_PYOBJ; k <= HL_PYRAW; k++)
        objects += kinds[HL_WORD_ALLOC + k];
    printf(
        "{\"blocks\": %zu, \"missing\": %lu, \"contradictions\": %lu, \"words\": %lu, \"nodes\": %lu, \"codes\": %lu, "
        "\"texts\": %lu, \"allocations\": %lu, \"allocated_bytes\": %lu, \"objects\": %lu, \"pyobj\": %lu, \"pymem\": "
        "%lu, "
        "\"pyraw\": %lu, \"frees\": %lu, \"heap_mapped\": %lu, \"arena_mapped\": %lu, \"recording\": %u, \"version\": "
        "\"%x\", \"flags\": %u, \"lost\": %lu, \"status\": %d, \"reason\": \"%s\"}\n",
        block_count, missing, contradictions, words, node_words, code_words, texts, made, made_bytes, objects,
        kinds[HL_WORD_ALLOC + HL_PYOBJ], kinds[HL_WORD_ALLOC + HL_PYMEM], kinds[HL_WORD_ALLOC + HL_PYRAW],
        kinds[HL_WORD_FREE], heap[HL_MAP_HEAP], heap[HL_MAP_ARENA], atomic_load(&p->recording),
        atomic_load(&p->python_version), atomic_load(&p->python_flags), atomic_load(&p->lost), status, p->reason);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
