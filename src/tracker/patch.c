/*
 * patch.c - finds the slots of the functions that we hook in all loaded objects, and exchanges what they hold.
 *
 * Slots are named by relocations of three types: of procedure linkage (JUMP_SLOT), of a function's address (GLOB_DAT), and in
 * data (64: tables of functions). A slot is patched when it holds what the function's name means in this program, or another
 * version of it in libc, or, where the loader fills slots at their first call, the way into the loader; so an object
 * that has been bound to a function of its own keeps it. Pages that the loader has made read-only (RELRO) are writable only
 * for the moment.
 *
 * Runs in the program, on whichever thread begins, ends, or has opened or closed an object; one at a time. A thread that comes
 * meanwhile does not wait: whoever is at work looks once more. What is loaded cannot go away while it is looked at, since
 * dl_iterate_phdr holds the lock that unloading takes.
 */
#include "patch.h"

#include "pymem.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { AT_JUMP = R_X86_64_JUMP_SLOT, AT_FUNCTION = R_X86_64_GLOB_DAT, IN_DATA = R_X86_64_64 };
#else
enum { AT_JUMP = R_AARCH64_JUMP_SLOT, AT_FUNCTION = R_AARCH64_GLOB_DAT, IN_DATA = R_AARCH64_ABS64 };
#endif

/* Not in every libc's headers. */
void free_sized(void *p, size_t bytes);
void free_aligned_sized(void *p, size_t alignment, size_t bytes);
void cfree(void *p);
pid_t _Fork(void); // NOLINT(readability-redundant-declaration)

// clang-format off
#define HOOK(name) {#name, (void *)(name), HL_PATCH_ALL}
// clang-format on
static const struct {
    const char *name;
    void *function;
    unsigned sets; /* that it belongs to */
} HOOKS[] = {
    HOOK(malloc),
    HOOK(free),
    HOOK(calloc),
    HOOK(realloc),
    HOOK(reallocarray),
    HOOK(posix_memalign),
    HOOK(aligned_alloc),
    HOOK(memalign),
    HOOK(valloc),
    HOOK(pvalloc),
    HOOK(free_sized),
    HOOK(free_aligned_sized),
    HOOK(cfree),
    HOOK(mmap),
    HOOK(mmap64),
    HOOK(munmap),
    HOOK(mremap),
    HOOK(mprotect),
    HOOK(pkey_mprotect),
    HOOK(prctl),
    HOOK(pthread_setname_np),
    HOOK(pthread_create),
    HOOK(fork),
    HOOK(_Fork),
    HOOK(wait),
    HOOK(waitpid),
    HOOK(wait3),
    HOOK(wait4),
    HOOK(waitid),
    HOOK(execve),
    HOOK(execv),
    HOOK(execvp),
    HOOK(execvpe),
    HOOK(fexecve),
    HOOK(execveat),
    HOOK(execl),
    HOOK(execlp),
    HOOK(execle),
    HOOK(posix_spawn),
    HOOK(posix_spawnp),
    HOOK(system),
    HOOK(popen),
    HOOK(_exit),
    HOOK(_Exit),
    HOOK(quick_exit),
    HOOK(dlclose),
    {"dlopen", (void *)hl_open_hook, HL_PATCH_ALL | HL_PATCH_OBJECTS},
    {"PyObject_Malloc", (void *)hl_pymem_object_malloc, HL_PATCH_OBJECTS},
    {"PyObject_Realloc", (void *)hl_pymem_object_realloc, HL_PATCH_OBJECTS},
    {"PyObject_Free", (void *)hl_pymem_object_free, HL_PATCH_OBJECTS},
};
enum { HOOK_COUNT = sizeof HOOKS / sizeof *HOOKS, NAMES = 256 };

typedef struct slot {
    void **place;
    void *before, *hook;
} slot;

typedef struct object {
    uintptr_t base;
    const void *dynamic;
    uint32_t first, count; /* of its slots, which lie together, in the order of the objects */
    bool seen, partial;    /* partial: some slot with a name of ours held something else */
} object;

/* Rows in pages of our own. */
typedef struct rows {
    void *at;
    uint32_t count, room;
} rows;

static struct {
    _Atomic bool active, busy, again;
    rows objects, slots;
    uint32_t next; /* where the next object is expected: the order stays, but for what is gone */
    unsigned long long added, removed;
    bool incomplete; /* there was no memory for some object */
    bool thorough;   /* this round looks at partial objects again */
    uintptr_t page_bytes, own_base, libc_from, libc_to;
    void *expected[HOOK_COUNT];
    uint8_t by_name[NAMES]; /* index + 1 of a hook, the others follow */
} patch;

static void *add_row(rows *r, size_t row_bytes)
{
    if (r->count == r->room) {
        uint32_t room = r->room ? 2 * r->room : (uint32_t)(65536 / row_bytes);
        void *more = hl_os_pages(room * row_bytes);
        if (!more)
            return NULL;
        if (r->at) {
            memcpy(more, r->at, r->count * row_bytes);
            hl_os_give_back(r->at, r->room * row_bytes);
        }
        r->at = more;
        r->room = room;
    }
    return (char *)r->at + r->count++ * row_bytes;
}

static void release_rows(rows *r, size_t row_bytes)
{
    if (r->at)
        hl_os_give_back(r->at, r->room * row_bytes);
    *r = (rows){0};
}

static object *object_at(uint32_t i) { return (object *)patch.objects.at + i; }
static slot *slot_at(uint32_t i) { return (slot *)patch.slots.at + i; }

/* --------------------------------------------------------------------------------------------------------- names */

static unsigned hash_of(const char *name)
{
    unsigned h = 5381;
    for (; *name; name++)
        h = h * 33 + (unsigned char)*name;
    return (h ^ h >> 8) % NAMES;
}

static void find_expected(hl_patch_set set)
{
    memset(patch.by_name, 0, sizeof patch.by_name);
    for (unsigned i = 0; i < HOOK_COUNT; i++) {
        if (!(HOOKS[i].sets & set))
            continue;
        patch.expected[i] = hl_real_next(HOOKS[i].name);
        unsigned at = hash_of(HOOKS[i].name);
        while (patch.by_name[at])
            at = (at + 1) % NAMES;
        patch.by_name[at] = (uint8_t)(i + 1);
    }
}

/* The number of a hook, or -1. */
static int hook_named(const char *name)
{
    for (unsigned at = hash_of(name); patch.by_name[at]; at = (at + 1) % NAMES) {
        int i = patch.by_name[at] - 1;
        if (strcmp(HOOKS[i].name, name) == 0)
            return i;
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------------- objects */

/* What is needed of a loaded object. */
typedef struct loaded {
    uintptr_t base, from, to; /* all its segments */
    uintptr_t relro_from, relro_to;
    const ElfW(Phdr) * headers;
    unsigned header_count;
    const ElfW(Dyn) * dynamic;
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * tables[2];
    size_t counts[2];
} loaded;

static uintptr_t page_down(uintptr_t at) { return at & ~(patch.page_bytes - 1); }

/* The loader has made the pointers absolute where it may write to the section. */
static const void *pointer(const loaded *o, const ElfW(Dyn) * d)
{
    return (const void *)(d->d_un.d_ptr < o->from ? o->base + d->d_un.d_ptr : d->d_un.d_ptr);
}

static bool look_into(loaded *o, const struct dl_phdr_info *info)
{
    *o = (loaded){.base = info->dlpi_addr, .from = UINTPTR_MAX, .headers = info->dlpi_phdr};
    o->header_count = info->dlpi_phnum;
    for (unsigned i = 0; i < o->header_count; i++) {
        const ElfW(Phdr) *p = &o->headers[i];
        uintptr_t at = o->base + p->p_vaddr;
        if (p->p_type == PT_LOAD) {
            o->from = at < o->from ? at : o->from;
            o->to = at + p->p_memsz > o->to ? at + p->p_memsz : o->to;
        } else if (p->p_type == PT_DYNAMIC) {
            o->dynamic = (const void *)at;
        } else if (p->p_type == PT_GNU_RELRO) {
            o->relro_from = page_down(at);
            o->relro_to = page_down(at + p->p_memsz);
        }
    }
    if (!o->dynamic || o->from > o->to)
        return false;
    size_t bytes[2] = {0}, entry = sizeof(ElfW(Rela));
    ElfW(Sxword) kind = DT_RELA;
    for (const ElfW(Dyn) *d = o->dynamic; d->d_tag != DT_NULL; d++) {
        switch (d->d_tag) {
        case DT_SYMTAB:
            o->symbols = pointer(o, d);
            break;
        case DT_STRTAB:
            o->strings = pointer(o, d);
            break;
        case DT_JMPREL:
            o->tables[0] = pointer(o, d);
            break;
        case DT_PLTRELSZ:
            bytes[0] = d->d_un.d_val;
            break;
        case DT_PLTREL:
            kind = (ElfW(Sxword))d->d_un.d_val;
            break;
        case DT_RELA:
            o->tables[1] = pointer(o, d);
            break;
        case DT_RELASZ:
            bytes[1] = d->d_un.d_val;
            break;
        case DT_RELAENT:
            entry = d->d_un.d_val;
            break;
        default:
            break;
        }
    }
    if (!o->symbols || !o->strings || kind != DT_RELA || entry != sizeof(ElfW(Rela)))
        return false;
    for (int i = 0; i < 2; i++)
        o->counts[i] = o->tables[i] ? bytes[i] / sizeof(ElfW(Rela)) : 0;
    return true;
}

static bool is_writable(const loaded *o, uintptr_t place)
{
    for (unsigned i = 0; i < o->header_count; i++) {
        const ElfW(Phdr) *p = &o->headers[i];
        if (p->p_type == PT_LOAD && place - (o->base + p->p_vaddr) < p->p_memsz)
            return (p->p_flags & PF_W) != 0;
    }
    return false;
}

static void protect(const loaded *o, int protection)
{
    if (o->relro_to > o->relro_from)
        hl_os_call(SYS_mprotect, (long)o->relro_from, (long)(o->relro_to - o->relro_from), protection, 0, 0, 0);
}

static void put(void **place, void *value) { __atomic_store_n(place, value, __ATOMIC_RELEASE); }

/* Whether what a slot holds stands for the function: see the head of this file. */
static bool is_libcs(const void *function)
{
    return (uintptr_t)function >= patch.libc_from && (uintptr_t)function < patch.libc_to;
}

static bool stands_for(const loaded *o, const ElfW(Sym) * symbol, void *value, int hook, unsigned type)
{
    if (!value || !patch.expected[hook])
        return false;
    if (value == patch.expected[hook] || (is_libcs(value) && is_libcs(patch.expected[hook])))
        return true;
    uintptr_t v = (uintptr_t)value; /* the way into the loader, and not a function of its own */
    return type == AT_JUMP && v >= o->from && v < o->to &&
           (symbol->st_shndx == SHN_UNDEF || v != o->base + symbol->st_value);
}

static void patch_object(object *known, const loaded *o)
{
    bool open = false;
    known->first = patch.slots.count;
    known->count = 0;
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < o->counts[t]; i++) {
            const ElfW(Rela) *r = &o->tables[t][i];
            unsigned type = (unsigned)ELF64_R_TYPE(r->r_info);
            if (type != AT_JUMP && type != AT_FUNCTION && (type != IN_DATA || r->r_addend))
                continue;
            const ElfW(Sym) *symbol = &o->symbols[ELF64_R_SYM(r->r_info)];
            int hook = hook_named(o->strings + symbol->st_name);
            void **place = (void **)(o->base + r->r_offset);
            if (hook < 0 || (uintptr_t)place % sizeof *place || !is_writable(o, (uintptr_t)place))
                continue;
            if (!stands_for(o, symbol, *place, hook, type)) {
                known->partial = true;
                continue;
            }
            slot *s = add_row(&patch.slots, sizeof *s);
            if (!s) {
                patch.incomplete = true;
                break;
            }
            *s = (slot){place, *place, HOOKS[hook].function};
            known->count++;
            if (!open && (uintptr_t)place - o->relro_from < o->relro_to - o->relro_from) {
                protect(o, PROT_READ | PROT_WRITE);
                open = true;
            }
            put(place, s->hook);
        }
    }
    if (open)
        protect(o, PROT_READ);
}

static void restore_object(const object *known, const loaded *o)
{
    bool open = false;
    for (uint32_t i = known->first; i < known->first + known->count; i++) {
        const slot *s = slot_at(i);
        if (*s->place != s->hook)
            continue;
        if (!open && (uintptr_t)s->place - o->relro_from < o->relro_to - o->relro_from) {
            protect(o, PROT_READ | PROT_WRITE);
            open = true;
        }
        put(s->place, s->before);
    }
    if (open)
        protect(o, PROT_READ);
}

/* ------------------------------------------------------------------------------------------------------ the round */

static object *known_object(const loaded *o)
{
    for (uint32_t k = 0; k < patch.objects.count; k++) {
        uint32_t i = (patch.next + k) % patch.objects.count;
        object *known = object_at(i);
        if (known->base == o->base && known->dynamic == o->dynamic) {
            patch.next = i + 1;
            return known;
        }
    }
    return NULL;
}

static void forget(uint32_t i)
{
    object *gone = object_at(i);
    uint32_t first = gone->first, count = gone->count;
    memmove(slot_at(first), slot_at(first + count), (patch.slots.count - first - count) * sizeof(slot));
    patch.slots.count -= count;
    memmove(gone, gone + 1, (patch.objects.count - i - 1) * sizeof *gone);
    patch.objects.count--;
    for (uint32_t k = i; k < patch.objects.count; k++)
        object_at(k)->first -= count;
}

static int look(struct dl_phdr_info *info, size_t size, void *changed)
{
    if (!*(bool *)changed) { /* the first */
        if (info->dlpi_adds == patch.added && info->dlpi_subs == patch.removed && !patch.incomplete)
            return 1;
        patch.added = info->dlpi_adds;
        patch.removed = info->dlpi_subs;
        patch.incomplete = false;
        *(bool *)changed = true;
    }
    loaded o;
    if (!look_into(&o, info) || (patch.own_base >= o.from && patch.own_base < o.to))
        return 0;
    object *known = known_object(&o);
    bool is_new = known && known->count && *slot_at(known->first)->place != slot_at(known->first)->hook;
    bool again = known && known->partial && patch.thorough;
    if (again)
        restore_object(known, &o);
    if (is_new || again) { /* is_new: another one, where one has gone */
        forget((uint32_t)(known - object_at(0)));
        known = NULL;
    }
    if (!known) {
        known = add_row(&patch.objects, sizeof *known);
        if (!known) {
            patch.incomplete = true;
            return 0;
        }
        *known = (object){.base = o.base, .dynamic = o.dynamic};
        patch_object(known, &o);
    }
    known->seen = true;
    return 0;
}

static int restore(struct dl_phdr_info *info, size_t size, void *unused)
{
    loaded o;
    object *known = look_into(&o, info) ? known_object(&o) : NULL;
    if (known)
        restore_object(known, &o);
    return 0;
}

static void look_once(void)
{
    bool changed = false;
    patch.next = 0;
    dl_iterate_phdr(look, &changed);
    for (uint32_t i = patch.objects.count; changed && i-- > 0;) {
        if (!object_at(i)->seen)
            forget(i);
        else
            object_at(i)->seen = false;
    }
}

void hl_patch_look(void)
{
    if (!atomic_load_explicit(&patch.active, memory_order_relaxed))
        return;
    int saved = errno;
    atomic_store(&patch.again, true);
    while (atomic_load(&patch.again) && !atomic_exchange(&patch.busy, true)) {
        atomic_store(&patch.again, false);
        if (atomic_load(&patch.active))
            look_once();
        atomic_store(&patch.busy, false);
    }
    errno = saved;
}

void hl_patch_forked(void) { atomic_store(&patch.busy, false); }

/* Waits for whoever is at work; only where a recording begins or ends. */
static void take_turn(void)
{
    while (atomic_exchange(&patch.busy, true))
        hl_os_yield();
}

static int find_libc(struct dl_phdr_info *info, size_t size, void *function)
{
    loaded o;
    if (!look_into(&o, info) || (uintptr_t)function < o.from || (uintptr_t)function >= o.to)
        return 0;
    patch.libc_from = o.from;
    patch.libc_to = o.to;
    return 1;
}

typedef struct own_call {
    const char *name;
    uintptr_t function;
    bool found;
} own_call;

static int find_own_call(struct dl_phdr_info *info, size_t size, void *data)
{
    own_call *call = data;
    loaded o;
    if (!look_into(&o, info) || call->function < o.from || call->function >= o.to)
        return 0;
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < o.counts[t] && !call->found; i++) {
            const ElfW(Rela) *r = &o.tables[t][i];
            unsigned type = (unsigned)ELF64_R_TYPE(r->r_info);
            call->found = (type == AT_JUMP || type == AT_FUNCTION) &&
                          strcmp(o.strings + o.symbols[ELF64_R_SYM(r->r_info)].st_name, call->name) == 0;
        }
    }
    return 1;
}

bool hl_patch_reaches(const char *name)
{
    own_call call = {.name = name, .function = (uintptr_t)dlsym(RTLD_DEFAULT, name)};
    patch.page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (call.function)
        dl_iterate_phdr(find_own_call, &call);
    return call.found;
}

int hl_patch_begin(hl_patch_set set)
{
    take_turn();
    patch.own_base = (uintptr_t)&patch;
    patch.page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    find_expected(set);
    dl_iterate_phdr(find_libc, hl_real_symbol(RTLD_NEXT, "__libc_start_main"));
    patch.added = patch.removed = 0;
    atomic_store(&patch.active, true);
    look_once();
    bool enough = !patch.incomplete;
    atomic_store(&patch.busy, false);
    if (!enough) {
        hl_patch_end();
        return -ENOMEM;
    }
    /* An object that another thread was opening may have been seen before its slots were filled. This waits for it. */
    dlopen(NULL, RTLD_LAZY);
    take_turn();
    patch.added = 0;
    patch.thorough = true;
    look_once();
    patch.thorough = false;
    atomic_store(&patch.busy, false);
    return 0;
}

void hl_patch_end(void)
{
    take_turn();
    atomic_store(&patch.active, false);
    patch.next = 0;
    dl_iterate_phdr(restore, NULL);
    release_rows(&patch.objects, sizeof(object));
    release_rows(&patch.slots, sizeof(slot));
    atomic_store(&patch.busy, false);
}
