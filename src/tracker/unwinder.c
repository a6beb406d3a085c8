/*
 * unwinder.c - rules of return addresses, objects by address, stacks by address.
 *
 * A rule is a word (below), kept under its return address and the generation of loaded objects. Two words an entry,
 * written without a lock: the first is the key XOR the rule, so a reader that meets half of another entry finds that it
 * does not fit.
 */
#include "unwinder.h"

#include "os.h"
#include "tracker.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

enum { RULES = 1 << 14, PROBES = 2, GENERATION_SHIFT = 48 };

/* What a rule word says. PLAIN: CFA = SP or FP + offset, return address at CFA + place, FP kept or at CFA + place. */
enum { RULE_NONE, RULE_PLAIN, RULE_OUTERMOST, RULE_FULL, RULE_FRAME_POINTER };
enum {
    RULE_BY_FP = 1 << 3,
    RULE_CFA_SHIFT = 4, /* 28 bits, signed, bytes */
    RULE_PC_SHIFT = 32, /* 12 bits, signed, words */
    RULE_FP_SHIFT = 44, /* 20 bits, signed, words; 0: kept */
};

static struct {
    _Atomic uint64_t key, rule;
} rules[RULES];

/* glibc's struct dl_find_object (dlfcn.h since 2.35); the room behind is the loader's. */
typedef struct found_object {
    unsigned long long flags;
    void *map_start, *map_end;
    struct link_map *map;
    void *eh_frame;
    unsigned long long reserved[8];
} found_object;

static int (*find_object)(void *address, found_object *found);
static hl_object program; /* the executable */
static _Atomic uint32_t generation;

void hl_unwind_forget(void) { atomic_fetch_add(&generation, 1); }
uint32_t hl_unwind_generation(void) { return atomic_load_explicit(&generation, memory_order_acquire); }

/* ------------------------------------------------------------------------------------------------------- objects */

typedef struct search {
    uint64_t address;
    hl_object *object;
} search;

static int look_into(struct dl_phdr_info *info, size_t size, void *data)
{
    search *s = data;
    uint64_t from = UINT64_MAX, to = 0;
    bool holds = false;
    const uint8_t *header = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uint64_t at = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD) {
            from = at < from ? at & ~UINT64_C(4095) : from;
            to = at + p->p_memsz > to ? at + p->p_memsz : to;
            holds |= s->address - at < p->p_memsz;
        } else if (p->p_type == PT_GNU_EH_FRAME) {
            header = (const uint8_t *)at;
        }
    }
    if (!holds)
        return 0;
    *s->object = (hl_object){from, to, info->dlpi_name ? info->dlpi_name : "", header};
    return 1;
}

void hl_unwind_start(void)
{
    search s = {getauxval(AT_ENTRY), &program};
    dl_iterate_phdr(look_into, &s);
    *(void **)&find_object = hl_real_symbol(RTLD_DEFAULT, "_dl_find_object");
}

bool hl_unwind_object(uint64_t address, hl_object *object)
{
    if (!find_object) {
        search s = {address, object};
        return dl_iterate_phdr(look_into, &s) == 1;
    }
    found_object found;
    if (find_object((void *)address, &found) != 0)
        return false;
    const char *path = found.map && found.map->l_name ? found.map->l_name : "";
    *object = (hl_object){(uint64_t)found.map_start, (uint64_t)found.map_end, path, found.eh_frame};
    /* Of an executable with gaps between its segments, which the kernel maps, the loader tells the segment alone. */
    if (object->from - program.from < program.to - program.from) {
        object->from = program.from;
        object->to = program.to;
    }
    return true;
}

const ElfW(Phdr) * hl_unwind_headers(const hl_object *object, int *count)
{
    enum { FIRST_PAGE = 4096 };
    const ElfW(Ehdr) *elf = (const void *)object->from;
    *count = 0;
    if (object->to - object->from < FIRST_PAGE || memcmp(elf->e_ident, ELFMAG, SELFMAG) != 0 ||
        elf->e_phentsize != sizeof(ElfW(Phdr)) || elf->e_phoff + elf->e_phnum * sizeof(ElfW(Phdr)) > FIRST_PAGE)
        return NULL;
    *count = elf->e_phnum;
    return (const void *)(object->from + elf->e_phoff);
}

/* The segment that holds the header: what may be read of the section. */
static bool section_of(const hl_object *object, hl_cfi *cfi)
{
    uint64_t header = (uint64_t)object->header, bias = UINT64_MAX;
    int count = 0;
    const ElfW(Phdr) *p = header ? hl_unwind_headers(object, &count) : NULL;
    for (int i = 0; i < count; i++) {
        if (p[i].p_type == PT_LOAD && bias == UINT64_MAX)
            bias = object->from - (p[i].p_vaddr & ~(p[i].p_align > 1 ? p[i].p_align - 1 : 0));
        if (p[i].p_type == PT_LOAD && p[i].p_flags & PF_R && header - (bias + p[i].p_vaddr) < p[i].p_memsz) {
            cfi->from = (const uint8_t *)(bias + p[i].p_vaddr);
            cfi->to = cfi->from + p[i].p_memsz;
            cfi->header = object->header;
            return true;
        }
    }
    return false;
}

/* --------------------------------------------------------------------------------------------------------- rules */

static bool fits(int64_t value, unsigned bits)
{
    return value >= -(INT64_C(1) << (bits - 1)) && value < INT64_C(1) << (bits - 1);
}

static uint64_t field(int64_t value, unsigned bits, unsigned shift)
{
    return ((uint64_t)value & ((UINT64_C(1) << bits) - 1)) << shift;
}

/* A row as a word; RULE_FULL where it does not fit into one. */
static uint64_t packed(const hl_cfi_row *row)
{
    if (row->ra.how == HL_CFI_UNDEFINED)
        return RULE_OUTERMOST;
    int64_t pc = row->ra.offset, fp = row->fp.how == HL_CFI_AT ? row->fp.offset : 0;
    if (row->is_signal || row->cfa.how != HL_CFI_IS || !fits(row->cfa.offset, 28) || row->ra.how != HL_CFI_AT ||
        pc % 8 || !fits(pc / 8, 12) || fp % 8 || !fits(fp / 8, 20) ||
        !(row->fp.how == HL_CFI_SAME || (row->fp.how == HL_CFI_AT && fp != 0)))
        return RULE_FULL;
    return RULE_PLAIN | (row->cfa_register == HL_CFI_FP ? RULE_BY_FP : 0) | field(row->cfa.offset, 28, RULE_CFA_SHIFT) |
           field(pc / 8, 12, RULE_PC_SHIFT) | field(fp / 8, 20, RULE_FP_SHIFT);
}

/* The row for a frame; false: nothing is known of its code. */
static bool row_of(uint64_t pc, hl_cfi_row *row)
{
    hl_object object;
    hl_cfi cfi;
    return hl_unwind_object(pc, &object) && section_of(&object, &cfi) && hl_cfi_find(&cfi, pc, row);
}

bool hl_unwind_function(uint64_t address, uint64_t *begin, uint64_t *end)
{
    hl_cfi_row row;
    if (!row_of(address, &row))
        return false;
    *begin = row.begin;
    *end = row.end;
    return true;
}

static uint64_t place_of(uint64_t key) { return key * UINT64_C(0x9e3779b97f4a7c15) >> 50; }
_Static_assert(RULES == 1 << (64 - 50), "place_of takes 14 bits");

static HL_COLD uint64_t learn(uint64_t key, uint64_t pc)
{
    hl_cfi_row row;
    uint64_t rule = row_of(pc - 1, &row) ? packed(&row) : RULE_FRAME_POINTER, at = place_of(key);
    /* The first free place; else the first: what was there moves on to the second. */
    uint64_t old = atomic_load_explicit(&rules[at].rule, memory_order_relaxed);
    uint64_t old_key = atomic_load_explicit(&rules[at].key, memory_order_relaxed);
    if (old) {
        uint64_t second = (at + 1) % RULES;
        atomic_store_explicit(&rules[second].key, old_key, memory_order_relaxed);
        atomic_store_explicit(&rules[second].rule, old, memory_order_relaxed);
    }
    atomic_store_explicit(&rules[at].key, key ^ rule, memory_order_relaxed);
    atomic_store_explicit(&rules[at].rule, rule, memory_order_relaxed);
    return rule;
}

static HL_ALWAYS uint64_t rule_of(uint64_t pc)
{
    uint64_t key = pc | (uint64_t)hl_unwind_generation() << GENERATION_SHIFT, at = place_of(key);
    for (unsigned i = 0; i < PROBES; i++, at = (at + 1) % RULES) {
        uint64_t rule = atomic_load_explicit(&rules[at].rule, memory_order_relaxed);
        if (HL_LIKELY((atomic_load_explicit(&rules[at].key, memory_order_relaxed) ^ rule) == key))
            return rule;
    }
    return learn(key, pc);
}

/* ---------------------------------------------------------------------------------------------------------- steps */

static bool readable(const hl_cfi_stack *stack, uint64_t address)
{
    return address >= stack->low && address <= stack->high - 8 && address % 8 == 0;
}

/* Whether the instruction before an address is a call, by its last bytes. */
static bool is_behind_call(uint64_t address)
{
    hl_object object;
    if (!hl_unwind_object(address, &object) || address - object.from < 16)
        return false;
#if defined(__x86_64__)
    const uint8_t *p = (const uint8_t *)address;
    if (p[-5] == 0xe8) /* call rel32 */
        return true;
    for (int length = 2; length <= 7; length++) { /* call r/m64: ff /2, with its prefixes before */
        if (p[-length] == 0xff && (p[-length + 1] & 0x38) == 0x10)
            return true;
    }
    return false;
#else
    uint32_t instruction;
    memcpy(&instruction, (const void *)(address - 4), 4);
    return (instruction & 0xfc000000) == 0x94000000 || (instruction & 0xfffffc1f) == 0xd63f0000 ||
           (instruction & 0xfffff800) == 0xd73f0800; /* bl, blr, blraa .. */
#endif
}

static uint64_t without_signature(uint64_t pc)
{
#if defined(__aarch64__)
    return pc & ((UINT64_C(1) << 48) - 1);
#else
    return pc;
#endif
}

static HL_COLD bool step_by_frame_pointer(hl_unwound *frame, const hl_cfi_stack *stack)
{
    uint64_t fp = frame->at.fp;
    if (fp < frame->at.sp || !readable(stack, fp) || !readable(stack, fp + 8))
        return false;
    uint64_t up = *(const uint64_t *)fp, pc = without_signature(*(const uint64_t *)(fp + 8));
    /* Where the caller keeps its frame pointer is further out; a caller without one may have any other value there. */
    if (!is_behind_call(pc) || (up >= frame->at.sp && up <= fp))
        return false;
    *frame = (hl_unwound){.at = {.pc = pc, .sp = fp + 16, .fp = up}, .from = {.pc = fp + 8, .fp = fp}, .by_fp = true};
    return true;
}

static HL_COLD bool step_fully(hl_unwound *frame, const hl_cfi_stack *stack, bool *broken)
{
    hl_cfi_row row;
    if (!row_of(frame->at.pc - !frame->interrupted, &row)) {
        *broken = !step_by_frame_pointer(frame, stack);
        return !*broken;
    }
    hl_cfi_registers at = frame->at;
    hl_cfi_places from;
    hl_cfi_step step = hl_cfi_apply(&row, stack, &at, &from);
    *broken = step == HL_CFI_BROKEN || (step == HL_CFI_CALLER && at.sp <= frame->at.sp && !row.is_signal);
    if (step != HL_CFI_CALLER || *broken)
        return false;
    at.pc = without_signature(at.pc);
    *frame = (hl_unwound){at, from, row.is_signal, true};
    return true;
}

bool hl_unwind_step(hl_unwound *frame, const hl_cfi_stack *stack, bool *broken)
{
    *broken = false;
    if (HL_UNLIKELY(frame->interrupted))
        return step_fully(frame, stack, broken);
    uint64_t rule = rule_of(frame->at.pc);
    if (HL_UNLIKELY((rule & 7) != RULE_PLAIN)) {
        if ((rule & 7) == RULE_OUTERMOST)
            return false;
        return step_fully(frame, stack, broken);
    }
    uint64_t base = rule & RULE_BY_FP ? frame->at.fp : frame->at.sp;
    uint64_t cfa = base + (uint64_t)((int64_t)(rule << 32) >> 36);
    uint64_t pc_place = cfa + (uint64_t)((int64_t)(rule << 20) >> 52) * 8;
    int64_t fp_offset = (int64_t)rule >> RULE_FP_SHIFT;
    *broken = true;
    if (HL_UNLIKELY(cfa <= frame->at.sp) || HL_UNLIKELY(!readable(stack, pc_place)))
        return false;
    if (fp_offset) {
        uint64_t place = cfa + (uint64_t)fp_offset * 8;
        if (HL_UNLIKELY(!readable(stack, place)))
            return false;
        frame->at.fp = *(const uint64_t *)place;
        frame->from.fp = place;
    } else {
        frame->from.fp = 0;
    }
    frame->at.pc = without_signature(*(const uint64_t *)pc_place);
    frame->from.pc = pc_place;
    frame->at.sp = cfa;
    frame->by_fp = (rule & RULE_BY_FP) != 0;
    *broken = false;
    return frame->at.pc != 0;
}

/* --------------------------------------------------------------------------------------------------------- stacks */

static uint64_t hexadecimal(const char **p, const char *to)
{
    uint64_t value = 0;
    for (; *p < to; (*p)++) {
        unsigned c = (unsigned char)**p, digit = c - '0' < 10 ? c - '0' : c - 'a' < 6 ? c - 'a' + 10 : 16;
        if (digit == 16)
            break;
        value = value << 4 | digit;
    }
    return value;
}

/* The line of a mapping "from-to rwxp ..": false when it does not hold `address`. */
static bool holds(const char *line, const char *to, uint64_t address, hl_cfi_stack *stack, bool *is_main)
{
    uint64_t low = hexadecimal(&line, to);
    if (line == to || *line++ != '-')
        return false;
    uint64_t high = hexadecimal(&line, to);
    if (address < low || address >= high || to - line < 3 || line[1] != 'r')
        return false;
    *stack = (hl_cfi_stack){low, high};
    *is_main = to - line >= 7 && memcmp(to - 7, "[stack]", 7) == 0;
    return true;
}

bool hl_unwind_stack(uint64_t sp, hl_cfi_stack *stack)
{
    enum { MAIN_GAP = 128 << 20 }; /* the kernel maps nothing else there, and lets the stack grow into it */
    char buffer[1024] = "";
    size_t have = 0;
    bool found = false, is_main = false;
    long fd = hl_os_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return false;
    while (!found) {
        long n = hl_os_call(SYS_read, fd, (long)(buffer + have), (long)(sizeof buffer - have), 0, 0, 0);
        if (n <= 0)
            break;
        have += (size_t)n;
        char *line = buffer, *end;
        while (!found && (end = memchr(line, '\n', (size_t)(buffer + have - line)))) {
            found = holds(line, end, sp, stack, &is_main);
            line = end + 1;
        }
        have = (size_t)(buffer + have - line);
        if (have == sizeof buffer) /* a long path: only what stands before it matters */
            have = 64;
        memmove(buffer, line, have);
    }
    hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
    if (!found)
        return false;
    uint64_t thread = (uint64_t)__builtin_thread_pointer();
    if (is_main)
        stack->low = stack->high > MAIN_GAP ? stack->high - MAIN_GAP : 0;
    else if (thread > sp && thread < stack->high) /* a thread's own data lie behind its stack */
        stack->high = thread;
    return true;
}
