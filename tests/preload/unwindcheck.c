/*
 * unwindcheck.c - preloaded into a program: at every malloc walks the native stack with the tracker's unwinder and with
 * libgcc's, and compares each frame's return address and stack pointer. Counts what differs and shows the first ones.
 *
 * UNWINDCHECK_EVERY=n checks each nth call; UNWINDCHECK_OUT=file: the counts as JSON, at exit. UNWINDCHECK_TIME=1 measures
 * both on the last stack instead.
 */
#include "unwinder.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

enum { MOST = 4096 };
/* On aarch64 libgcc gives, as the stack pointer of what a signal interrupted, a place in the signal's frame. */
#if defined(__aarch64__)
enum { SP_IS_OTHER = 1 };
#else
enum { SP_IS_OTHER = 0 };
#endif

typedef struct walked {
    unsigned n;
    bool broken;
    uint64_t pc[MOST], sp[MOST];
    bool interrupted[MOST];
} walked;

void *hl_real_symbol(void *handle, const char *name);
void *hl_real_symbol(void *handle, const char *name) { return dlsym(handle, name); }

static void *(*real_malloc)(size_t);
static __thread bool inside __attribute__((tls_model("initial-exec")));
static __thread walked *ours __attribute__((tls_model("initial-exec")));
static __thread walked *theirs __attribute__((tls_model("initial-exec")));
static __thread hl_own_stack own __attribute__((tls_model("initial-exec")));
static atomic_ulong calls, checked, frames, different, shorter, shown, longest;
static unsigned long every = 1;
static const _Atomic bool confined;

static _Unwind_Reason_Code take(struct _Unwind_Context *context, void *data)
{
    walked *w = data;
    int before;
    if (w->n == MOST)
        return _URC_END_OF_STACK;
    w->pc[w->n] = _Unwind_GetIPInfo(context, &before);
    w->sp[w->n++] = _Unwind_GetCFA(context);
    return _URC_NO_REASON;
}

static __attribute__((noinline)) void walk(walked *w)
{
    uint64_t *frame = __builtin_frame_address(0);
    hl_unwound at = {.at = {.pc = frame[1], .sp = (uint64_t)__builtin_dwarf_cfa(), .fp = frame[0]}};
    w->n = 0;
    hl_cfi_stack now = hl_unwind_stack(&own, at.at.sp);
    bool broken = false;
    do {
        w->pc[w->n] = at.at.pc;
        w->interrupted[w->n] = at.interrupted;
        w->sp[w->n++] = at.at.sp;
        if (at.at.sp < now.low || (at.at.sp >= now.high && !hl_unwind_reach(&now, at.at.sp + 8)))
            now = hl_unwind_stack(&own, at.at.sp);
    } while (w->n < MOST && hl_unwind_step(&at, &now, &broken));
    w->broken = broken;
}

static void describe(const char *what, const walked *w, unsigned from)
{
    for (unsigned i = from > 2 ? from - 2 : 0; i < w->n && i < from + 4; i++) {
        Dl_info info = {0};
        dladdr((void *)w->pc[i], &info);
        fprintf(stderr, "  %s %2u pc %#lx sp %#lx %s+%#lx %s\n", what, i, (unsigned long)w->pc[i],
                (unsigned long)w->sp[i], info.dli_fname ? info.dli_fname : "?",
                info.dli_fbase ? (unsigned long)(w->pc[i] - (uint64_t)info.dli_fbase) : 0,
                info.dli_sname ? info.dli_sname : "");
    }
}

/* Both walks begin in functions of this library: they are lined up by the stack pointer of the hook's caller. */
static __attribute__((noinline)) void check(uint64_t caller_sp)
{
    if (!ours) {
        ours = real_malloc(sizeof *ours);
        theirs = real_malloc(sizeof *theirs);
    }
    theirs->n = 0;
    walk(ours);
    _Unwind_Backtrace(take, theirs);
    unsigned a = 0, b = 0;
    while (a < ours->n && ours->sp[a] < caller_sp)
        a++;
    while (b < theirs->n && theirs->sp[b] < caller_sp)
        b++;
    unsigned i = 0;
    while (a + i < ours->n && b + i < theirs->n && ours->pc[a + i] == theirs->pc[b + i] &&
           (ours->sp[a + i] == theirs->sp[b + i] || (SP_IS_OTHER && ours->interrupted[a + i])))
        i++;
    checked++;
    frames += i;
    if (ours->n > longest)
        longest = ours->n;
    /* libgcc gives a last frame with pc 0 where there is no caller. */
    bool at_end = a + i == ours->n && (b + i == theirs->n || (b + i + 1 == theirs->n && theirs->pc[b + i] == 0));
    if (at_end)
        return;
    if (b + i >= theirs->n) { /* it gave up, we went on */
        shorter++;
        if (!getenv("UNWINDCHECK_SHORTER"))
            return;
    } else {
        different++;
    }
    if (shown++ < 8) {
        fprintf(stderr, "unwindcheck: different after %u frames (%u of ours%s, %u of libgcc's)\n", i, ours->n - a,
                ours->broken ? ", broken" : "", theirs->n - b);
        describe("ours  ", ours, a + i);
        describe("libgcc", theirs, b + i);
    }
}

__attribute__((visibility("default"))) void *malloc(size_t size)
{
    static _Atomic bool finding;
    if (!real_malloc) {
        static char early[4096];
        static _Atomic size_t used;
        if (atomic_exchange(&finding, true)) {
            size_t at = atomic_fetch_add(&used, (size + 15) & ~(size_t)15);
            return at + size <= sizeof early ? early + at : NULL;
        }
        *(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
        hl_unwind_start(&confined);
        const char *said = getenv("UNWINDCHECK_EVERY");
        every = said ? strtoul(said, NULL, 10) : every;
    }
    int error = errno;
    if (!inside && ++calls % every == 0) {
        inside = true;
        check((uint64_t)__builtin_dwarf_cfa());
        inside = false;
    }
    errno = error;
    return real_malloc(size);
}

__attribute__((destructor)) static void report(void)
{
    inside = true;
    const char *out = getenv("UNWINDCHECK_OUT");
    FILE *f = out ? fopen(out, "a") : stderr;
    if (f)
        fprintf(f,
                "{\"calls\": %lu, \"checked\": %lu, \"frames\": %lu, \"different\": %lu, \"libgcc_shorter\": %lu, "
                "\"longest\": %lu}\n",
                calls, checked, frames, different, shorter, longest);
    if (out && f)
        fclose(f);
}
