/*
 * cfi.c - .eh_frame: finding a function's record, running its instructions up to an address, and applying the row.
 */
#include "cfi.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------------- reading */

/* A cursor over bytes; once something was missing it stays at the end and gives zeros. */
typedef struct bytes {
    const uint8_t *at, *to;
    bool broken;
} bytes;

static const uint8_t *take(bytes *b, uint64_t count)
{
    const uint8_t *at = b->at;
    if (b->broken || count > (uint64_t)(b->to - at)) {
        b->broken = true;
        b->at = b->to;
        return NULL;
    }
    b->at += count;
    return at;
}

static uint64_t fixed(bytes *b, unsigned size)
{
    uint64_t value = 0;
    const uint8_t *at = take(b, size);
    if (at)
        memcpy(&value, at, size); /* little endian, like the processors that are known */
    return value;
}

static int64_t fixed_signed(bytes *b, unsigned size)
{
    uint64_t value = fixed(b, size);
    return size == 8 ? (int64_t)value : (int64_t)(value << (64 - 8 * size)) >> (64 - 8 * size);
}

static uint64_t uleb(bytes *b)
{
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        const uint8_t *at = take(b, 1);
        if (!at)
            return 0;
        if (shift < 64)
            value |= (uint64_t)(*at & 0x7f) << shift;
        if (!(*at & 0x80))
            return value;
    }
}

static int64_t sleb(bytes *b)
{
    uint64_t value = 0;
    for (unsigned shift = 0;;) {
        const uint8_t *at = take(b, 1);
        if (!at)
            return 0;
        if (shift < 64)
            value |= (uint64_t)(*at & 0x7f) << shift;
        shift += 7;
        if (!(*at & 0x80)) {
            if (shift < 64 && *at & 0x40)
                value |= ~UINT64_C(0) << shift;
            return (int64_t)value;
        }
    }
}

/* DW_EH_PE_*: a pointer's encoding. Aligned, text- and function-relative ones do not occur with these processors. */
enum { ENCODED_FORM = 0x0f, ENCODED_BASE = 0x70, ENCODED_INDIRECT = 0x80, ENCODED_OMITTED = 0xff };

static uint64_t pointer_of(bytes *b, uint8_t encoding, uint64_t data)
{
    uint64_t place = (uint64_t)b->at, value;
    switch (encoding & ENCODED_FORM) {
    case 0x00:
        value = fixed(b, 8);
        break;
    case 0x01:
        value = uleb(b);
        break;
    case 0x02:
        value = fixed(b, 2);
        break;
    case 0x03:
        value = fixed(b, 4);
        break;
    case 0x04:
        value = fixed(b, 8);
        break;
    case 0x09:
        value = (uint64_t)sleb(b);
        break;
    case 0x0a:
        value = (uint64_t)fixed_signed(b, 2);
        break;
    case 0x0b:
        value = (uint64_t)fixed_signed(b, 4);
        break;
    case 0x0c:
        value = fixed(b, 8);
        break;
    default:
        b->broken = true;
        return 0;
    }
    switch (encoding & ENCODED_BASE) {
    case 0x00:
        break;
    case 0x10:
        value += place;
        break;
    case 0x30:
        value += data;
        break;
    default:
        b->broken = true;
        return 0;
    }
    return value;
}

/* ------------------------------------------------------------------------------------------------------- records */

/* A record's contents behind its length; false: the end of the section, or broken. */
static bool open_record(const hl_cfi *cfi, const uint8_t *at, bytes *record, const uint8_t **next)
{
    if (at < cfi->from || at >= cfi->to)
        return false;
    bytes b = {at, cfi->to, false};
    uint64_t length = fixed(&b, 4);
    if (length == UINT32_MAX)
        length = fixed(&b, 8);
    const uint8_t *from = take(&b, length);
    if (!from || length == 0)
        return false;
    *record = (bytes){from, from + length, false};
    *next = from + length;
    return true;
}

typedef struct common { /* a CIE */
    uint64_t code_align;
    int64_t data_align;
    uint8_t encoding; /* of addresses in its FDEs */
    bool is_signal, has_length;
    bytes instructions;
} common;

static bool read_common(const hl_cfi *cfi, const uint8_t *at, common *c)
{
    bytes b;
    const uint8_t *next;
    if (!open_record(cfi, at, &b, &next) || fixed(&b, 4) != 0)
        return false;
    *c = (common){0};
    uint64_t version = fixed(&b, 1);
    if (version != 1 && version != 3)
        return false;
    const uint8_t *augmentation = b.at;
    while (fixed(&b, 1) && !b.broken)
        ;
    c->code_align = uleb(&b);
    c->data_align = sleb(&b);
    uint64_t ra = version == 1 ? fixed(&b, 1) : uleb(&b);
    if (b.broken || ra != HL_CFI_RA)
        return false;
    if (*augmentation == 'z') {
        augmentation++;
        c->has_length = true;
        uint64_t length = uleb(&b);
        const uint8_t *from = take(&b, length);
        if (!from)
            return false;
        bytes data = {from, from + length, false};
        for (; *augmentation; augmentation++) {
            switch (*augmentation) {
            case 'R':
                c->encoding = (uint8_t)fixed(&data, 1);
                break;
            case 'L':
                fixed(&data, 1);
                break;
            case 'S':
                c->is_signal = true;
                break;
            case 'B':
                break; /* which key signs return addresses */
            case 'P': {
                uint8_t encoding = (uint8_t)fixed(&data, 1);
                pointer_of(&data, encoding & 0x0f, 0);
                break;
            }
            default:
                return false;
            }
        }
        if (data.broken)
            return false;
    } else if (*augmentation) {
        return false;
    }
    c->instructions = b;
    return !b.broken;
}

/* A function's record (FDE) at `at`: false when it is none, or does not hold `pc`. */
static bool read_function(const hl_cfi *cfi, const uint8_t *at, uint64_t pc, common *c, bytes *instructions,
                          hl_cfi_row *row)
{
    bytes b;
    const uint8_t *next;
    if (!open_record(cfi, at, &b, &next))
        return false;
    const uint8_t *place = b.at;
    uint64_t distance = fixed(&b, 4);
    if (distance == 0 || distance > (uint64_t)(place - cfi->from) || !read_common(cfi, place - distance, c))
        return false;
    row->begin = pointer_of(&b, c->encoding & (uint8_t)~ENCODED_INDIRECT, 0);
    row->end = row->begin + pointer_of(&b, c->encoding & ENCODED_FORM, 0);
    if (c->has_length)
        take(&b, uleb(&b));
    *instructions = b;
    return !b.broken && pc >= row->begin && pc < row->end;
}

/* The record for `pc`, by the sorted table of the header; NULL: there is none. */
static const uint8_t *look_up(const hl_cfi *cfi, uint64_t pc, bool *has_table, const uint8_t **section)
{
    bytes b = {cfi->header, cfi->to, false};
    *section = NULL;
    *has_table = false;
    if (cfi->header < cfi->from || cfi->header >= cfi->to || fixed(&b, 1) != 1)
        return NULL;
    uint8_t section_encoding = (uint8_t)fixed(&b, 1), count_encoding = (uint8_t)fixed(&b, 1),
            table_encoding = (uint8_t)fixed(&b, 1);
    uint64_t data = (uint64_t)cfi->header;
    if (section_encoding != ENCODED_OMITTED)
        *section = (const uint8_t *)pointer_of(&b, section_encoding, data);
    if (count_encoding == ENCODED_OMITTED || table_encoding != 0x3b) /* pairs of 4 bytes, relative to the header */
        return NULL;
    uint64_t count = pointer_of(&b, count_encoding, data);
    if (b.broken || count == 0 || count > (uint64_t)(b.to - b.at) / 8)
        return NULL;
    *has_table = true;
    const uint8_t *table = b.at;
    uint64_t low = 0, high = count; /* the last entry that begins at or before pc */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        int32_t begin;
        memcpy(&begin, table + middle * 8, 4);
        if (data + (uint64_t)(int64_t)begin <= pc)
            low = middle;
        else
            high = middle;
    }
    int32_t record;
    memcpy(&record, table + low * 8 + 4, 4);
    return (const uint8_t *)(data + (uint64_t)(int64_t)record);
}

/* -------------------------------------------------------------------------------------------------- instructions */

typedef struct state {
    unsigned cfa_register;
    hl_cfi_rule cfa, ra, fp;
} state;

enum { REMEMBERED = 8 };

static hl_cfi_rule *rule_for(state *s, uint64_t reg)
{
    static const unsigned FP = HL_CFI_FP, RA = HL_CFI_RA;
    return reg == RA ? &s->ra : reg == FP ? &s->fp : NULL;
}

static void set(state *s, uint64_t reg, hl_cfi_how how, int64_t offset)
{
    hl_cfi_rule *rule = rule_for(s, reg);
    if (rule)
        *rule = (hl_cfi_rule){.how = how, .offset = offset};
}

static hl_cfi_rule expression_of(bytes *b, hl_cfi_how how)
{
    uint64_t length = uleb(b);
    const uint8_t *at = take(b, length);
    return at ? (hl_cfi_rule){.how = how, .expression = at, .expression_bytes = (uint32_t)length}
              : (hl_cfi_rule){.how = HL_CFI_UNKNOWN};
}

static int64_t scaled(const common *c, uint64_t factor) { return (int64_t)(factor * (uint64_t)c->data_align); }
static int64_t negative(int64_t offset) { return (int64_t)(0 - (uint64_t)offset); }

/* Runs instructions while they are for addresses up to `pc`. False: one is not known. */
static bool run(const common *c, bytes b, uint64_t location, uint64_t pc, const state *initial, state *s)
{
    state remembered[REMEMBERED];
    unsigned depth = 0;
    while (b.at < b.to && !b.broken) {
        uint8_t op = (uint8_t)fixed(&b, 1), low = op & 0x3f;
        uint64_t reg;
        switch (op & 0xc0) {
        case 0x40: /* advance_loc */
            location += low * c->code_align;
            if (location > pc)
                return true;
            continue;
        case 0x80:
            set(s, low, HL_CFI_AT, scaled(c, uleb(&b)));
            continue;
        case 0xc0:
            if (rule_for(s, low))
                *rule_for(s, low) = low == HL_CFI_RA ? initial->ra : initial->fp;
            continue;
        default:
            break;
        }
        switch (op) {
        case 0x00:
            break; /* nop */
        case 0x01:
            location = pointer_of(&b, c->encoding, 0); /* set_loc */
            if (location > pc)
                return true;
            break;
        case 0x02:
        case 0x03:
        case 0x04: /* advance_loc1, 2, 4 */
            location += fixed(&b, 1u << (op - 2)) * c->code_align;
            if (location > pc)
                return true;
            break;
        case 0x05:
            reg = uleb(&b), set(s, reg, HL_CFI_AT, scaled(c, uleb(&b)));
            break; /* offset_extended */
        case 0x06: /* restore_extended */
            reg = uleb(&b);
            if (rule_for(s, reg))
                *rule_for(s, reg) = reg == HL_CFI_RA ? initial->ra : initial->fp;
            break;
        case 0x07:
            set(s, uleb(&b), HL_CFI_UNDEFINED, 0);
            break;
        case 0x08:
            set(s, uleb(&b), HL_CFI_SAME, 0);
            break;
        case 0x09:
            reg = uleb(&b), uleb(&b), set(s, reg, HL_CFI_UNKNOWN, 0);
            break; /* register */
        case 0x0a: /* remember_state */
            if (depth == REMEMBERED)
                return false;
            remembered[depth++] = *s;
            break;
        case 0x0b: /* restore_state */
            if (depth == 0)
                return false;
            *s = remembered[--depth];
            break;
        case 0x0c: /* def_cfa */
            s->cfa_register = (unsigned)uleb(&b);
            s->cfa = (hl_cfi_rule){.how = HL_CFI_IS, .offset = (int64_t)uleb(&b)};
            break;
        case 0x0d:
            s->cfa_register = (unsigned)uleb(&b);
            break; /* def_cfa_register */
        case 0x0e:
            s->cfa.offset = (int64_t)uleb(&b);
            break; /* def_cfa_offset */
        case 0x0f:
            s->cfa = expression_of(&b, HL_CFI_IS_RESULT);
            break; /* def_cfa_expression */
        case 0x10:
        case 0x16: { /* expression, val_expression */
            reg = uleb(&b);
            hl_cfi_rule rule = expression_of(&b, op == 0x10 ? HL_CFI_AT_RESULT : HL_CFI_IS_RESULT);
            if (rule_for(s, reg))
                *rule_for(s, reg) = rule;
            break;
        }
        case 0x11:
            reg = uleb(&b), set(s, reg, HL_CFI_AT, scaled(c, (uint64_t)sleb(&b)));
            break; /* offset_extended_sf */
        case 0x12: /* def_cfa_sf */
            s->cfa_register = (unsigned)uleb(&b);
            s->cfa = (hl_cfi_rule){.how = HL_CFI_IS, .offset = scaled(c, (uint64_t)sleb(&b))};
            break;
        case 0x13:
            s->cfa.offset = scaled(c, (uint64_t)sleb(&b));
            break; /* def_cfa_offset_sf */
        case 0x14:
            reg = uleb(&b), set(s, reg, HL_CFI_IS, scaled(c, uleb(&b)));
            break; /* val_offset */
        case 0x15:
            reg = uleb(&b), set(s, reg, HL_CFI_IS, scaled(c, (uint64_t)sleb(&b)));
            break;
        case 0x2d:
            break; /* aarch64: negate_ra_state */
        case 0x2e:
            uleb(&b);
            break; /* GNU_args_size */
        case 0x2f:
            reg = uleb(&b), set(s, reg, HL_CFI_AT, negative(scaled(c, uleb(&b))));
            break; /* GNU_negative_offset_extended */
        default:
            return false;
        }
    }
    return !b.broken;
}

static bool row_of(const hl_cfi *cfi, const uint8_t *at, uint64_t pc, hl_cfi_row *row)
{
    common c;
    bytes instructions;
    if (!read_function(cfi, at, pc, &c, &instructions, row))
        return false;
    /* Where nothing is said, the return address is in its register, the frame pointer as it was. */
    state initial = {.cfa = {.how = HL_CFI_UNKNOWN}}, none = initial, s;
    if (!run(&c, c.instructions, row->begin, UINT64_MAX, &none, &initial))
        return false;
    s = initial;
    if (!run(&c, instructions, row->begin, pc, &initial, &s))
        return false;
    row->cfa = s.cfa;
    row->cfa_register = s.cfa.how == HL_CFI_IS ? s.cfa_register : 0;
    row->ra = s.ra;
    row->fp = s.fp;
    row->is_signal = c.is_signal;
    row->to = cfi->to;
    return s.cfa.how == HL_CFI_IS_RESULT ||
           (s.cfa.how == HL_CFI_IS && (s.cfa_register == HL_CFI_SP || s.cfa_register == HL_CFI_FP));
}

bool hl_cfi_find(const hl_cfi *cfi, uint64_t pc, hl_cfi_row *row)
{
    bool has_table;
    const uint8_t *section, *record = look_up(cfi, pc, &has_table, &section);
    if (record)
        return row_of(cfi, record, pc, row);
    if (has_table || !section)
        return false;
    /* No table: one after the other. */
    bytes b;
    for (const uint8_t *at = section, *next; open_record(cfi, at, &b, &next); at = next) {
        if (fixed(&b, 4) != 0 && row_of(cfi, at, pc, row))
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------------ applying */

static bool load(const hl_cfi_stack *stack, uint64_t address, uint64_t *value)
{
    if (!address || address < stack->low || address > stack->high - sizeof *value || address % sizeof *value)
        return false;
    memcpy(value, (const void *)address, sizeof *value);
    return true;
}

/* DWARF expressions, as far as frames use them (DWARF 5, 2.5). `first` is pushed before: the CFA, for saved registers. */
static bool evaluate(const hl_cfi_rule *rule, const hl_cfi_stack *stack, const hl_cfi_registers *r,
                     const uint64_t *first, uint64_t *result)
{
    enum { ROOM = 16, MOST_STEPS = 200 };
    uint64_t values[ROOM];
    unsigned n = 0;
    if (first)
        values[n++] = *first;
    bytes b = {rule->expression, rule->expression + rule->expression_bytes, false};
    for (int steps = 0; b.at < b.to && !b.broken; steps++) {
        uint8_t op = (uint8_t)fixed(&b, 1);
        uint64_t value = 0;
        if (steps == MOST_STEPS)
            return false;
        if (op >= 0x30 && op <= 0x4f) { /* lit */
            value = op - 0x30u;
        } else if ((op >= 0x70 && op <= 0x8f) || op == 0x92) { /* breg, bregx */
            uint64_t reg = op == 0x92 ? uleb(&b) : op - 0x70u;
            uint64_t offset = (uint64_t)sleb(&b);
            if (reg == HL_CFI_SP)
                value = r->sp + offset;
            else if (reg == HL_CFI_FP)
                value = r->fp + offset;
            else if (reg == HL_CFI_RA)
                value = r->pc + offset;
            else
                return false;
        } else {
            unsigned wanted = op == 0x06 || op == 0x12 || op == 0x13 || op == 0x1f || op == 0x20 || op == 0x23 ? 1
                              : (op >= 0x16 && op <= 0x2e) || op == 0x14                                       ? 2
                                                                                                               : 0;
            if (n < wanted)
                return false;
            uint64_t a = n ? values[n - 1] : 0, c = n > 1 ? values[n - 2] : 0;
            switch (op) {
            case 0x06: /* deref */
                n--;
                if (!load(stack, a, &value))
                    return false;
                break;
            case 0x03:
            case 0x0e:
            case 0x0f:
                value = fixed(&b, 8);
                break;
            case 0x08:
                value = fixed(&b, 1);
                break;
            case 0x09:
                value = (uint64_t)fixed_signed(&b, 1);
                break;
            case 0x0a:
                value = fixed(&b, 2);
                break;
            case 0x0b:
                value = (uint64_t)fixed_signed(&b, 2);
                break;
            case 0x0c:
                value = fixed(&b, 4);
                break;
            case 0x0d:
                value = (uint64_t)fixed_signed(&b, 4);
                break;
            case 0x10:
                value = uleb(&b);
                break;
            case 0x11:
                value = (uint64_t)sleb(&b);
                break;
            case 0x12:
                value = a;
                break; /* dup */
            case 0x13:
                n--;
                continue; /* drop */
            case 0x14:
                value = c;
                break; /* over */
            case 0x16:
                values[n - 1] = c, values[n - 2] = a;
                continue; /* swap */
            case 0x1a:
                value = c & a, n -= 2;
                break;
            case 0x1c:
                value = c - a, n -= 2;
                break;
            case 0x1e:
                value = c * a, n -= 2;
                break;
            case 0x1f:
                value = -a, n--;
                break;
            case 0x20:
                value = ~a, n--;
                break;
            case 0x21:
                value = c | a, n -= 2;
                break;
            case 0x22:
                value = c + a, n -= 2;
                break;
            case 0x23:
                value = a + uleb(&b), n--;
                break;
            case 0x24:
                value = a < 64 ? c << a : 0, n -= 2;
                break;
            case 0x25:
                value = a < 64 ? c >> a : 0, n -= 2;
                break;
            case 0x27:
                value = c ^ a, n -= 2;
                break;
            case 0x29:
                value = c == a, n -= 2;
                break;
            case 0x2a:
                value = (int64_t)c >= (int64_t)a, n -= 2;
                break;
            case 0x2b:
                value = (int64_t)c > (int64_t)a, n -= 2;
                break;
            case 0x2c:
                value = (int64_t)c <= (int64_t)a, n -= 2;
                break;
            case 0x2d:
                value = (int64_t)c < (int64_t)a, n -= 2;
                break;
            case 0x2e:
                value = c != a, n -= 2;
                break;
            case 0x96:
                continue; /* nop */
            default:
                return false;
            }
        }
        if (n == ROOM)
            return false;
        values[n++] = value;
    }
    if (b.broken || n == 0)
        return false;
    *result = values[n - 1];
    return true;
}

/* A saved register; `place` is where it was found. */
static bool restore(const hl_cfi_rule *rule, const hl_cfi_stack *stack, const hl_cfi_registers *r, uint64_t cfa,
                    uint64_t *value, uint64_t *place)
{
    uint64_t at;
    switch (rule->how) {
    case HL_CFI_SAME:
        return true;
    case HL_CFI_AT:
        at = cfa + (uint64_t)rule->offset;
        break;
    case HL_CFI_IS:
        *value = cfa + (uint64_t)rule->offset;
        return true;
    case HL_CFI_AT_RESULT:
        if (!evaluate(rule, stack, r, &cfa, &at))
            return false;
        break;
    case HL_CFI_IS_RESULT:
        return evaluate(rule, stack, r, &cfa, value);
    default:
        return false;
    }
    *place = at;
    return load(stack, at, value);
}

hl_cfi_step hl_cfi_apply(const hl_cfi_row *row, const hl_cfi_stack *stack, hl_cfi_registers *registers,
                         hl_cfi_places *places)
{
    const hl_cfi_registers r = *registers;
    hl_cfi_registers up = r;
    *places = (hl_cfi_places){0};
    uint64_t cfa;
    if (row->ra.how == HL_CFI_UNDEFINED)
        return HL_CFI_OUTERMOST;
    if (row->cfa.how == HL_CFI_IS)
        cfa = (row->cfa_register == HL_CFI_SP ? r.sp : r.fp) + (uint64_t)row->cfa.offset;
    else if (!evaluate(&row->cfa, stack, &r, NULL, &cfa))
        return HL_CFI_BROKEN;
    if (row->ra.how == HL_CFI_SAME) { /* it has not left its register: not at a call */
        if (!r.ra_place)
            return HL_CFI_BROKEN;
        up.pc = r.ra;
        places->pc = r.ra_place;
    } else if (!restore(&row->ra, stack, &r, cfa, &up.pc, &places->pc)) {
        return HL_CFI_BROKEN;
    }
    up.ra = up.ra_place = 0;
    if (row->fp.how == HL_CFI_UNDEFINED || row->fp.how == HL_CFI_UNKNOWN)
        up.fp = 0;
    else if (!restore(&row->fp, stack, &r, cfa, &up.fp, &places->fp))
        return HL_CFI_BROKEN;
    up.sp = cfa;
    *registers = up;
    return HL_CFI_CALLER;
}
