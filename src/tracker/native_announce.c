/*
 * native_announce.c - loaded objects and C frames, told to the collector.
 */
#include "native_announce.h"

#include "native.h"
#include "unwinder.h"

#include <elf.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

/* Code at addresses where no object is loaded: a JIT's. Its object is 4 GiB of addresses, and has no file. */
#define JIT_BITS 32
static const char JIT_NAME[] = "[generated code]", NO_INFO[] = "[no unwind info]", CUT[] = "(outer frames, cut)";

enum { MOST_ID = 64 };

/* The build id of an object (ELF note NT_GNU_BUILD_ID), in hexadecimal; its length, 0: there is none. */
static uint32_t build_id_of(const hl_object *object, char *to)
{
    int count;
    const ElfW(Phdr) *p = hl_unwind_headers(object, &count);
    uint64_t first = 0; /* the address in the file of what lies at object->from */
    for (int i = count - 1; i >= 0; i--) {
        if (p[i].p_type == PT_LOAD)
            first = p[i].p_vaddr & ~UINT64_C(4095);
    }
    for (int i = 0; i < count; i++) {
        if (p[i].p_type != PT_NOTE)
            continue;
        const char *at = (const char *)(object->from + (p[i].p_vaddr - first)), *end = at + p[i].p_memsz;
        if ((uint64_t)at < object->from || (uint64_t)end > object->to)
            continue;
        while (end - at >= (long)sizeof(ElfW(Nhdr))) {
            const ElfW(Nhdr) *note = (const void *)at;
            const char *name = at + sizeof *note, *content = name + ((note->n_namesz + 3) & ~3u);
            if (content > end || note->n_descsz > (uint64_t)(end - content))
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0 &&
                note->n_descsz <= MOST_ID / 2) {
                for (uint32_t k = 0; k < note->n_descsz; k++) {
                    to[2 * k] = "0123456789abcdef"[(uint8_t)content[k] >> 4];
                    to[2 * k + 1] = "0123456789abcdef"[content[k] & 15];
                }
                return note->n_descsz * 2;
            }
            at = content + ((note->n_descsz + 3) & ~3u);
        }
    }
    return 0;
}

static bool put_object(hl_wire_writer *w, const char *code, uint32_t version, const char *path, const char *id,
                       uint32_t id_bytes)
{
    if (hl_code_is_known(code, version))
        return true;
    char own[PATH_MAX];
    size_t length = strnlen(path, PATH_MAX);
    if (!length) {
        long n = hl_os_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)own, sizeof own, 0, 0);
        path = own;
        length = n > 0 ? (size_t)n : 0;
    }
    hl_wire_code head = {.flags = HL_CODE_NATIVE, .file_bytes = (uint32_t)length, .name_bytes = id_bytes};
    hl_code_writer c;
    hl_code_begin(&c, w, code, version, &head);
    hl_code_put(&c, path, length);
    hl_code_put(&c, id, id_bytes);
    return hl_code_end(&c);
}

/* Its first stack is that of its own initialisation, before there are greenlets. */
static void notice_greenlet(const hl_object *object)
{
    const char *slash = strrchr(object->path, '/'), *name = slash ? slash + 1 : object->path;
    if (strncmp(name, "_greenlet.", 10) == 0 || strncmp(name, "greenlet.", 9) == 0) { /* before 1.0 */
        hl_native.greenlet_from = object->from;
        hl_native.greenlet_bytes = object->to - object->from;
    }
}

void hl_native_announce(hl_wire_writer *w, uint64_t node, uint64_t parent, uint64_t pc, uint32_t version)
{
    hl_object object;
    char id[MOST_ID];
    if (hl_unwind_object(pc, &object)) {
        const char *code = (const char *)object.from;
        bool is_known = hl_code_is_known(code, version);
        uint32_t id_bytes = is_known ? 0 : build_id_of(&object, id);
        if (!is_known)
            notice_greenlet(&object);
        if (put_object(w, code, version, object.path, id, id_bytes))
            hl_announce_node(w, node, parent, code, version, (uint32_t)(pc - object.from));
        return;
    }
    const char *code = (const char *)((pc >> JIT_BITS << JIT_BITS) + 16);
    if (put_object(w, code, version, JIT_NAME, NULL, 0))
        hl_announce_node(w, node, parent, code, version, (uint32_t)pc);
}

uint64_t hl_native_announce_end(hl_wire_writer *w, uint64_t parent, uint64_t pc)
{
    /* Sentinels where no object is. The one without information carries the code that has none. */
    const char *code = (const char *)(pc ? UINT64_C(24) : UINT64_C(32));
    uint64_t node = hl_wire_mix(parent, pc ? pc : 1, (uint32_t)(uint64_t)code);
    if (hl_node_is_known(node))
        return node;
    hl_object object;
    if (pc && hl_unwind_object(pc, &object)) {
        /* One sentinel for each object: its name says which. */
        code = (const char *)(object.from + 24);
        node = hl_wire_mix(parent, (uint64_t)code, 24);
        if (hl_node_is_known(node))
            return node;
        char text[PATH_MAX];
        const char *base = strrchr(object.path, '/');
        base = base ? base + 1 : *object.path ? object.path : "the program";
        size_t length = strnlen(base, 200);
        memcpy(text, NO_INFO, sizeof NO_INFO - 2);
        memcpy(text + sizeof NO_INFO - 2, ": ", 2);
        memcpy(text + sizeof NO_INFO, base, length);
        text[sizeof NO_INFO + length] = ']';
        text[sizeof NO_INFO + length + 1] = '\0';
        if (put_object(w, code, 1, text, NULL, 0))
            hl_announce_node(w, node, parent, code, 1, 0);
        return node;
    }
    if (put_object(w, code, 1, pc ? NO_INFO : CUT, NULL, 0))
        hl_announce_node(w, node, parent, code, 1, 0);
    return node;
}
