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
#include "unwinder_arch.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>

enum { RULES = 1 << 14, PROBES = 2, GENERATION_SHIFT = 48 };

/* What a rule word says. PLAIN: CFA = SP or FP + offset, return address at CFA + place, FP kept or at CFA + place. */
enum { RULE_NONE, RULE_PLAIN, RULE_OUTERMOST, RULE_FULL, RULE_FRAME_POINTER, RULE_SIGNAL };
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
static const _Atomic bool *confined;
static uint64_t
    context_start; /* what the outermost function of a makecontext coroutine returns to; 0: there is no such */
static hl_cfi_stack main_stack;
static uint64_t main_thread; /* where its data lie, which is not behind its stack */

/* Its code has no unwind information, and that is how it tells that nothing called it. So its address is read where
 * makecontext puts it. */
static HL_COLD uint64_t find_context_start(void)
{
    int (*get)(ucontext_t *);
    void (*make)(ucontext_t *, void (*)(void), int, ...);
    *(void **)&get = hl_real_symbol(RTLD_DEFAULT, "getcontext");
    *(void **)&make = hl_real_symbol(RTLD_DEFAULT, "makecontext");
    ucontext_t context;
    uint64_t stack[128] = {0};
    if (!get || !make || get(&context) != 0)
        return 0;
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = sizeof stack;
    context.uc_link = NULL;
    make(&context, hl_unwind_forget, 0);
    return hl_arch_first_return(&context);
}

static void find_program(void);

void hl_unwind_start(const _Atomic bool *now_confined)
{
    enum { MAIN_GAP = 128 << 20 }; /* the kernel maps nothing else there, and lets the stack grow into it */
    confined = now_confined;
    find_program();
    *(void **)&find_object = hl_real_symbol(RTLD_DEFAULT, "_dl_find_object");
    void **stack_end = hl_real_symbol(RTLD_DEFAULT, "__libc_stack_end");
    if (stack_end && *stack_end) /* what main was called from; arguments and environment lie behind it */
        main_stack = (hl_cfi_stack){.low = (uint64_t)*stack_end - MAIN_GAP, .high = ((uint64_t)*stack_end | 4095) + 1};
    main_thread = (uint64_t)__builtin_thread_pointer(); /* before main, that is who runs this */
    context_start = find_context_start();
}

bool hl_unwind_is_context_start(uint64_t pc) { return pc == context_start && pc; }

static bool is_confined(void) { return atomic_load_explicit(confined, memory_order_relaxed); }

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

static void find_program(void)
{
    search s = {getauxval(AT_ENTRY), &program};
    dl_iterate_phdr(look_into, &s);
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

/* The readable segment that holds an address; with `flags` beside PF_R. */
static bool segment_of(const hl_object *object, uint64_t address, uint32_t flags, uint64_t *from, uint64_t *to)
{
    uint64_t bias = UINT64_MAX;
    int count = 0;
    const ElfW(Phdr) *p = hl_unwind_headers(object, &count);
    flags |= PF_R;
    for (int i = 0; i < count; i++) {
        if (p[i].p_type == PT_LOAD && bias == UINT64_MAX)
            bias = object->from - (p[i].p_vaddr & ~(p[i].p_align > 1 ? p[i].p_align - 1 : 0));
        if (p[i].p_type == PT_LOAD && (p[i].p_flags & flags) == flags &&
            address - (bias + p[i].p_vaddr) < p[i].p_memsz) {
            *from = bias + p[i].p_vaddr;
            *to = *from + p[i].p_memsz;
            return true;
        }
    }
    return false;
}

/* The segment that holds the header: what may be read of the section. */
static bool section_of(const hl_object *object, hl_cfi *cfi)
{
    uint64_t header = (uint64_t)object->header, from, to;
    if (!header || !segment_of(object, header, 0, &from, &to))
        return false;
    *cfi = (hl_cfi){.from = (const uint8_t *)from, .to = (const uint8_t *)to, .header = object->header};
    return true;
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

/* Whether code at an address can be read: `before` and `after` bytes, of 8 at most each. */
static bool is_code_readable(uint64_t address, uint64_t before, uint64_t after)
{
    hl_object object;
    uint64_t from, to;
    if (hl_unwind_object(address, &object) && segment_of(&object, address, PF_X, &from, &to))
        return address - from >= before && to - address >= after;
    return !is_confined() && address > 4096 && hl_os_is_readable(address - before) &&
           hl_os_is_readable(address + after - 8);
}

static uint64_t rule_for(uint64_t pc)
{
    hl_cfi_row row;
    if (hl_unwind_is_context_start(pc))
        return RULE_OUTERMOST;
    /* First, since aarch64's vdso has other information (unwinder_arch.h), and others have none. */
    if (is_code_readable(pc, 0, HL_SIGRETURN_BYTES) && hl_arch_is_sigreturn(pc))
        return RULE_SIGNAL;
    return row_of(pc - 1, &row) ? packed(&row) : RULE_FRAME_POINTER;
}

static HL_COLD uint64_t learn(uint64_t key, uint64_t pc)
{
    uint64_t rule = rule_for(pc), at = place_of(key);
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

/* Whether a word above `sp`, where the frame begins, can be read. */
static HL_ALWAYS bool readable(hl_cfi_stack *stack, uint64_t sp, uint64_t address)
{
    return address >= sp && address % 8 == 0 &&
           (HL_LIKELY(address <= stack->high - 8) || hl_unwind_reach(stack, address + 8));
}

/* Whether an address is one that a call returns to. */
static bool is_return_address(uint64_t pc, bool *is_loaded)
{
    hl_object object;
    *is_loaded = hl_unwind_object(pc, &object);
    return is_code_readable(pc, HL_CALL_BYTES, 0) && hl_arch_is_behind_call(pc);
}

static HL_COLD bool step_by_frame_pointer(hl_unwound *frame, hl_cfi_stack *stack)
{
    uint64_t fp = frame->at.fp, sp = frame->at.sp;
    bool is_loaded;
    if (!readable(stack, sp, fp) || !readable(stack, sp, fp + 8))
        return false;
    uint64_t up = *(const uint64_t *)fp, pc = hl_arch_without_signature(*(const uint64_t *)(fp + 8));
    /* Where the caller keeps its frame pointer is further out; a caller without one may have any other value there. */
    if (!is_return_address(pc, &is_loaded) || (up >= sp && up <= fp))
        return false;
    if (!is_loaded && !readable(stack, fp + 16, up)) /* data may look like a call, too */
        return false;
    *frame = (hl_unwound){.at = {.pc = pc, .sp = fp + 16, .fp = up}, .from = {.pc = fp + 8, .fp = fp}, .by_fp = true};
    return true;
}

/* From a handler to what the signal has interrupted. */
static HL_COLD bool step_out_of_handler(hl_unwound *frame, hl_cfi_stack *stack)
{
    uint64_t sp = frame->at.sp;
    hl_signal_frame place = hl_arch_signal_frame(sp);
    if (!readable(stack, sp, place.pc) || !readable(stack, sp, place.sp) || !readable(stack, sp, place.fp) ||
        (place.ra && !readable(stack, sp, place.ra)))
        return false;
    hl_cfi_registers at = {.pc = *(const uint64_t *)place.pc,
                           .sp = *(const uint64_t *)place.sp,
                           .fp = *(const uint64_t *)place.fp,
                           .ra = place.ra ? hl_arch_without_signature(*(const uint64_t *)place.ra) : 0,
                           .ra_place = place.ra};
    *frame = (hl_unwound){.at = at, .from = {.pc = place.pc, .fp = place.fp}, .interrupted = true};
    return at.pc != 0;
}

static HL_COLD bool step_fully(hl_unwound *frame, hl_cfi_stack *stack, bool *broken)
{
    enum { FURTHER = 1 << 16 }; /* as far as an expression may reach on a stack that is not the thread's own */
    hl_cfi_row row;
    if (!row_of(frame->at.pc - !frame->interrupted, &row)) {
        *broken = !step_by_frame_pointer(frame, stack);
        return !*broken;
    }
    hl_cfi_registers at = frame->at;
    hl_cfi_places from;
    hl_cfi_stack outwards = {.low = at.sp, .high = stack->high};
    hl_cfi_step step = hl_cfi_apply(&row, &outwards, &at, &from);
    if (step == HL_CFI_BROKEN && stack->foreign) {
        hl_unwind_reach(stack, stack->high + FURTHER);
        outwards.high = stack->high;
        at = frame->at;
        step = hl_cfi_apply(&row, &outwards, &at, &from);
    }
    /* A function that a signal interrupted before it took any room may have its caller's stack pointer. */
    bool is_outwards = at.sp > frame->at.sp || (frame->interrupted && at.sp == frame->at.sp) || row.is_signal;
    *broken = step == HL_CFI_BROKEN || (step == HL_CFI_CALLER && !is_outwards);
    if (step != HL_CFI_CALLER || *broken)
        return false;
    at.pc = hl_arch_without_signature(at.pc);
    *frame = (hl_unwound){at, from, row.is_signal, true};
    return at.pc != 0;
}

bool hl_unwind_step(hl_unwound *frame, hl_cfi_stack *stack, bool *broken)
{
    *broken = false;
    if (HL_UNLIKELY(frame->interrupted))
        return step_fully(frame, stack, broken);
    uint64_t rule = rule_of(frame->at.pc);
    if (HL_UNLIKELY((rule & 7) != RULE_PLAIN)) {
        if ((rule & 7) == RULE_OUTERMOST)
            return false;
        if ((rule & 7) == RULE_SIGNAL) {
            *broken = !step_out_of_handler(frame, stack);
            return !*broken;
        }
        return step_fully(frame, stack, broken);
    }
    uint64_t base = rule & RULE_BY_FP ? frame->at.fp : frame->at.sp;
    uint64_t cfa = base + (uint64_t)((int64_t)(rule << 32) >> 36);
    uint64_t pc_place = cfa + (uint64_t)((int64_t)(rule << 20) >> 52) * 8;
    int64_t fp_offset = (int64_t)rule >> RULE_FP_SHIFT;
    *broken = true;
    if (HL_UNLIKELY(cfa <= frame->at.sp) || HL_UNLIKELY(!readable(stack, frame->at.sp, pc_place)))
        return false;
    if (fp_offset) {
        uint64_t place = cfa + (uint64_t)fp_offset * 8;
        if (HL_UNLIKELY(!readable(stack, frame->at.sp, place)))
            return false;
        frame->at.fp = *(const uint64_t *)place;
        frame->from.fp = place;
    } else {
        frame->from.fp = 0;
    }
    frame->at.pc = hl_arch_without_signature(*(const uint64_t *)pc_place);
    frame->from.pc = pc_place;
    frame->at.sp = cfa;
    frame->by_fp = (rule & RULE_BY_FP) != 0;
    *broken = false;
    return frame->at.pc != 0;
}

/* --------------------------------------------------------------------------------------------------------- stacks */

enum { PAGE = 4096 }; /* or a part of one */

bool hl_unwind_reach(hl_cfi_stack *stack, uint64_t address)
{
    enum { FARTHEST = 1 << 20 }; /* bytes of one step: a wrong one would else ask for very many pages */
    if (!stack->foreign || address - stack->high > FARTHEST || is_confined())
        return false;
    for (; stack->high < address; stack->high += PAGE) {
        if (!hl_os_is_readable(stack->high))
            return false;
    }
    return true;
}

/* Whether all between `sp` and the thread's own data, which lie where its stack begins, can be read. */
static bool is_own(hl_own_stack *own, uint64_t sp)
{
    enum { LARGEST = 8 << 20 };
    uint64_t thread = (uint64_t)__builtin_thread_pointer(), from = sp & ~(uint64_t)(PAGE - 1);
    uint64_t to = own->stack.high == thread && from < own->stack.low ? own->stack.low : thread;
    if (thread == main_thread || sp >= thread || sp < own->hole || to - from > LARGEST || is_confined())
        return false;
    for (uint64_t at = from + PAGE; at < to; at += PAGE) {
        if (!hl_os_is_readable(at)) {
            own->hole = at;
            return false;
        }
    }
    own->stack = (hl_cfi_stack){.low = from, .high = thread};
    return true;
}

HL_COLD hl_cfi_stack hl_unwind_stack(hl_own_stack *own, uint64_t sp)
{
    if (sp >= main_stack.low && sp < main_stack.high)
        return own->stack = main_stack;
    if (is_own(own, sp))
        return own->stack;
    uint64_t from = sp & ~(uint64_t)(PAGE - 1);
    return (hl_cfi_stack){.low = from, .high = from + PAGE, .foreign = true};
}
