/*
 * python_announce.c - Python frames and code objects, announced.
 *
 * Runs in the program, below hl_put_alloc, on the thread whose stack it is: the code objects belong to frames that have
 * not returned, so they are alive, and what is read of them does not change. Nothing of Python is called.
 */
#include "native.h"
#include "python_private.h"

#include <string.h>

#define HL_AT(type, base, offset) (*(type *)((char *)(base) + (offset)))

enum { TABLE_MOST = 1 << 24 };

/* A str of the interpreter, or bytes as they are (2.7's str, line tables). */
typedef struct text {
    const void *data;
    uint64_t length;
    unsigned unit; /* bytes a character; 0: copied as it is */
    uint32_t utf8_bytes;
} text;

/* One character as UTF-8. A byte of a file name that was not text (surrogateescape) is itself again. */
static unsigned encode(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c >= 0xdc80 && c <= 0xdcff) {
        to[0] = (char)(c - 0xdc00);
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
        c = 0xfffd;
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static uint32_t character(const text *t, uint64_t i)
{
    return t->unit == 1   ? ((const uint8_t *)t->data)[i]
           : t->unit == 2 ? ((const uint16_t *)t->data)[i]
                          : ((const uint32_t *)t->data)[i];
}

static text text_of_bytes(const char *object, uint64_t most)
{
    const hl_layout *L = hl_python.layout;
    text t = {0};
    if (object && HL_AT(uint64_t, object, L->bytes_size) <= most) {
        t.data = object + L->bytes_data;
        t.length = HL_AT(uint64_t, object, L->bytes_size);
        t.utf8_bytes = (uint32_t)t.length;
    }
    return t;
}

static text text_of_str(const char *object)
{
    const hl_layout *L = hl_python.layout;
    if (!L->text_length) /* 2.7 */
        return text_of_bytes(object, 4096);
    text t = {.data = "?", .length = 1, .utf8_bytes = 1};
    if (!object)
        return t;
    uint32_t state = HL_AT(uint32_t, object, L->text_state) >> L->text_kind_shift;
    unsigned unit = state & 7;
    bool compact = state & 8, ascii = state & 16;
    uint64_t length = HL_AT(uint64_t, object, L->text_length);
    if ((unit != 1 && unit != 2 && unit != 4) || length > 4096)
        return t;
    t.data =
        !compact ? HL_AT(const void *, object, L->text_compact) : object + (ascii ? L->text_ascii : L->text_compact);
    t.length = length;
    t.unit = ascii ? 0 : unit;
    t.utf8_bytes = (uint32_t)length;
    if (t.unit) {
        char bytes[4];
        t.utf8_bytes = 0;
        for (uint64_t i = 0; i < length; i++)
            t.utf8_bytes += encode(character(&t, i), bytes);
    }
    return t;
}

static void put_text(hl_code_writer *c, const text *t)
{
    if (!t->unit) {
        hl_code_put(c, t->data, t->length);
        return;
    }
    for (uint64_t i = 0; i < t->length; i++) {
        char bytes[4];
        hl_code_put(c, bytes, encode(character(t, i), bytes));
    }
}

uint32_t hl_python_text(const char *object, char *to, uint32_t room)
{
    text t = text_of_str(object);
    uint32_t at = 0;
    for (uint64_t i = 0; i < t.length; i++) {
        char bytes[4];
        unsigned n = 1;
        if (t.unit)
            n = encode(character(&t, i), bytes);
        else
            bytes[0] = ((const char *)t.data)[i];
        if (at + n > room)
            break;
        memcpy(to + at, bytes, n);
        at += n;
    }
    return at;
}

static bool put_code(hl_wire_writer *w, const char *code, uint32_t version, int32_t first_line, const text *file,
                     const text *name, const text *table)
{
    if (hl_code_is_known(code, version))
        return true;
    hl_wire_code head = {
        .python_version = hl_python.version,
        .first_line = first_line,
        .file_bytes = file->utf8_bytes,
        .name_bytes = name->utf8_bytes,
        .table_bytes = table->utf8_bytes,
    };
    hl_code_writer c;
    hl_code_begin(&c, w, code, version, &head);
    put_text(&c, file);
    put_text(&c, name);
    put_text(&c, table);
    return hl_code_end(&c);
}

static bool put_code_object(hl_wire_writer *w, const char *code, uint32_t version)
{
    const hl_layout *L = hl_python.layout;
    if (hl_code_is_known(code, version))
        return true;
    if (HL_AT(char *, code, L->type) != hl_python.code_type) {
        hl_python_give_up("its frames do not look as expected");
        return false;
    }
    text file = text_of_str(HL_AT(char *, code, L->file_name));
    text name = text_of_str(HL_AT(char *, code, L->name));
    text table = text_of_bytes(HL_AT(char *, code, L->table), TABLE_MOST);
    return put_code(w, code, version, HL_AT(int32_t, code, L->first_line), &file, &name, &table);
}

bool hl_python_announce_code(hl_wire_writer *w, const char *code, uint32_t version)
{
    return put_code_object(w, code, version);
}

/* What was cut off a stack that is too deep looks like code of its own, at an address where no object is. */
#define CUT_CODE ((const char *)8)
#define CUT_VERSION 1u

uint64_t hl_python_cut_node(void) { return hl_wire_mix(hl_tracker.live.root, (uint64_t)CUT_CODE, CUT_VERSION); }

static bool put_cut(hl_wire_writer *w)
{
    static const char FILE_NAME[] = "<heapline>", NAME[] = "(outer frames, cut)";
    text file = {.data = FILE_NAME, .length = sizeof FILE_NAME - 1, .utf8_bytes = sizeof FILE_NAME - 1};
    text name = {.data = NAME, .length = sizeof NAME - 1, .utf8_bytes = sizeof NAME - 1};
    text table = {0};
    return put_code(w, CUT_CODE, CUT_VERSION, 0, &file, &name, &table) &&
           hl_announce_node(w, hl_python_cut_node(), hl_tracker.live.root, CUT_CODE, CUT_VERSION, 0);
}

/* The instruction's offset from the first one, in bytes, as hl_linetable_find takes it; UINT32_MAX: not begun. */
static uint32_t offset_of(const hl_python_frame *r)
{
    const hl_layout *L = hl_python.layout;
    if (L->form == HL_AT_POINTER)
        return (uint32_t)(r->instruction + (uint64_t)r->to_shared - (uint64_t)(r->code + L->bytecode));
    int32_t last = (int32_t)r->instruction;
    return last < 0 ? UINT32_MAX : (uint32_t)last * (L->form == HL_AT_UNITS ? 2 : 1);
}

bool hl_python_announce_frame(hl_wire_writer *w, const hl_python_frame *r, uint64_t node, uint64_t parent)
{
    return hl_node_is_known(node) || (put_code_object(w, r->code, r->version) &&
                                      hl_announce_node(w, node, parent, r->code, r->version, offset_of(r)));
}

bool hl_python_announce_cut(hl_wire_writer *w) { return hl_node_is_known(hl_python_cut_node()) || put_cut(w); }

void hl_python_announce(hl_wire_writer *w, uint32_t at)
{
    hl_python_frame *frames = hl_remembered_of(w)->frames;
    if (hl_python.gave_up || hl_native.on) /* native.c announces what it makes of these frames */
        return;
    uint32_t from = at;
    while (from > 0 && !hl_node_is_known(frames[from - 1].node))
        from--;
    if (from == 0 && hl_remembered_of(w)->cut && !hl_python_announce_cut(w))
        return;
    for (uint32_t i = from; i <= at; i++) {
        const hl_python_frame *r = &frames[i];
        if (r->node != r->parent && !hl_python_announce_frame(w, r, r->node, r->parent))
            return;
    }
}
