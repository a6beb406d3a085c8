/*
 * inside.c - recordings that a program begins and ends while it runs: what the Python package calls (python/heapline).
 *
 * A recording begins in two steps, and ends in two: those that wait for something are called without the GIL, those that touch
 * the interpreter with it.
 *
 *     heapline_begin    starts a collector, joins its session, patches slots; hooks pass through so far
 *     heapline_enter    with the GIL: PyMem hooks; from here on events are recorded
 *     heapline_leave    with the GIL: nothing is recorded any more, the interpreter has its own functions back
 *     heapline_end      slots get back what they held; waits until the profile is complete
 *
 * Threads may be in the middle of a hook at any of these. So the library is never unmapped, and the memory of a session that
 * has ended stays mapped until every thread that wrote there has taken a writer in a later one, or has ended: each finds HL_LEFT
 * in place of its mark. A thread that was stopped between two instructions of hl_enter would find none; GRACE_NS is for that
 * one.
 *
 * The caller sees to it that one thread at a time is in here. Errors are negative errno codes.
 */
#include "inside.h"

#include "lines.h"
#include "native.h"
#include "patch.h"
#include "pymem.h"
#include "python.h"
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64 + PATH_MAX, QUIET_LIMIT_NS = 50 * 1000000, STEP_NS = 20 * 1000000 };
#define GRACE_NS (UINT64_C(2) * 1000000000)

HL_EXPORT const char heapline_tracker_version[] = HEAPLINE_VERSION;

/* Where the recording that this process has begun stands. */
static enum { NONE, BEGUN, ENTERED, LEFT } stage;

/* The page of the process's slot, where it stays readable when the session is gone. */
static struct {
    _Alignas(HL_LARGEST_PAGE) char page[HL_LARGEST_PAGE];
    const hl_wire_process *of; /* NULL: of none */
} numbers;

static void forget_numbers(void)
{
    if (numbers.of)
        hl_os_call(SYS_mmap, (long)numbers.page, HL_LARGEST_PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    numbers.of = NULL;
}

/* ----------------------------------------------------------------------------------------- sessions of the past */

void hl_left_by_thread(const hl_wire_writer *w)
{
    for (int i = 0; i < HL_LEFT_SESSIONS; i++) {
        hl_session *s = atomic_load(&hl_tracker.left[i].session);
        if (s && (uintptr_t)w - (uintptr_t)s < HL_CHUNKS_AT) {
            atomic_fetch_sub(&hl_tracker.left[i].threads, 1);
            return;
        }
    }
}

/* Calls `each` for the writers of this process, which has that slot there. */
static void each_writer(hl_session *s, uint32_t process, void (*each)(hl_wire_writer *w, void *context), void *context)
{
    uint32_t used = atomic_load(&s->writers_used);
    for (uint32_t i = 0; i < used && i < HL_MAX_WRITERS; i++) {
        hl_wire_writer *w = hl_session_writer(s, i);
        if (atomic_load(&w->state) != HL_WRITER_FREE && w->process == process)
            each(w, context);
    }
}

static void mark_left(hl_wire_writer *w, void *place)
{
    hl_left_session *left = place;
    atomic_store(&w->end, 0); /* whoever takes it for its own all the same finds no room in it */
    if (w->lane || w == hl_tracker.shared || atomic_load(&w->state) != HL_WRITER_USED)
        return;
    atomic_fetch_add(&left->threads, 1);
    atomic_exchange(&w->open, HL_LEFT);
    uint64_t mark = HL_LEFT; /* it may have ended just before */
    if (atomic_load(&w->state) != HL_WRITER_USED && atomic_compare_exchange_strong(&w->open, &mark, 0))
        atomic_fetch_sub(&left->threads, 1);
}

static bool is_dead(hl_session *s) { return atomic_load(&s->collector) & FUTEX_OWNER_DIED; }

/* The session's memory stays, but for the pages of its chunks. Without a free place it stays for good. */
static void keep_session(hl_session *s)
{
    hl_left_session nowhere = {.session = NULL}, *left = &nowhere;
    for (int i = 0; i < HL_LEFT_SESSIONS && left == &nowhere; i++) {
        if (!atomic_load(&hl_tracker.left[i].session))
            left = &hl_tracker.left[i];
    }
    atomic_store(&left->threads, 0);
    atomic_store(&left->since_ns, hl_os_now_ns());
    left->process_index = hl_tracker.process_index;
    atomic_store(&left->session, s);
    each_writer(s, left->process_index, mark_left, left);
    /* In a forked child, which may begin a recording of its own, the memory is its parent's too. */
    if (s->root_pid == (uint32_t)hl_os_pid() || atomic_load(&s->ended) || is_dead(s))
        hl_os_call(SYS_madvise, (long)((char *)s + HL_CHUNKS_AT), (long)(s->bytes - HL_CHUNKS_AT), MADV_REMOVE, 0, 0,
                   0);
}

static void release_memory(hl_wire_writer *w, void *unused)
{
    hl_python_thread_ended(w);
    hl_native_thread_ended(w);
}

/* Gives back what no thread looks at any more. */
static void release_sessions(void)
{
    uint64_t now_ns = hl_os_now_ns();
    for (int i = 0; i < HL_LEFT_SESSIONS; i++) {
        hl_left_session *left = &hl_tracker.left[i];
        hl_session *s = atomic_load(&left->session);
        if (!s || s == hl_tracker.session || atomic_load(&left->threads) > 0 ||
            now_ns - atomic_load(&left->since_ns) < GRACE_NS)
            continue;
        each_writer(s, left->process_index, release_memory, NULL);
        atomic_store(&left->session, NULL);
        hl_os_give_back(s, s->bytes);
    }
}

/* ------------------------------------------------------------------------------------------------------ beginning */

HL_EXPORT int heapline_state(void)
{
    hl_session *s = hl_tracker.session;
    if (atomic_load(&hl_tracker.state) == HL_RECORDING && (is_dead(s) || atomic_load(&s->ended)))
        hl_tracker_quit();
    if (atomic_load(&hl_tracker.state) != HL_RECORDING)
        return stage == NONE ? HEAPLINE_NOT : HEAPLINE_OVER;
    return stage != NONE && s->root_pid == (uint32_t)hl_os_pid() ? HEAPLINE_BY_ITSELF : HEAPLINE_BY_OTHERS;
}

static void wake(hl_session *s)
{
    atomic_store(&s->sleeping, 0);
    hl_os_wake(&s->sleeping, INT_MAX);
}

static void copy(char *to, size_t room, const char *text)
{
    size_t n = strnlen(text, room - 1);
    memcpy(to, text, n);
    to[n] = '\0';
}

HL_EXPORT int heapline_begin(const char *binary, const char *options, char *message, size_t room)
{
    char answer[MESSAGE_BYTES] = "";
    *message = '\0';
    if (stage != NONE)
        return -EBUSY;
    int saved = errno, error = hl_start_session(binary, options, answer, sizeof answer);
    if (!error && answer[0] == '!') {
        error = -EPERM;
        copy(message, room, answer + 1);
    }
    char *path = strchr(answer, ' '); /* behind the locator */
    if (!error && path) {
        *path = '\0';
        copy(message, room, path + 1);
    }
    release_sessions();
    if (!error)
        error = hl_tracker_prepare(answer);
    if (!error && hl_tracker.inside) {
        error = hl_patch_begin(HL_PATCH_ALL);
        if (error) {
            atomic_store(&hl_tracker.session->stop, HL_STOP_PROGRAM);
            wake(hl_tracker.session);
            keep_session(hl_tracker.session);
            hl_tracker.process = NULL;
            atomic_store(&hl_tracker.state, HL_QUIET);
        }
    }
    if (!error)
        stage = BEGUN;
    errno = saved;
    return error;
}

HL_EXPORT void heapline_name(int tid, const char *name, size_t bytes) { hl_python_name_known(tid, name, bytes); }

HL_EXPORT int heapline_enter(void)
{
    if (stage != BEGUN)
        return -EINVAL;
    int saved = errno;
    hl_tracker_go();
    hl_lines_start();
    stage = ENTERED;
    errno = saved;
    return atomic_load(&hl_tracker.state) == HL_RECORDING ? (int)atomic_load(&hl_tracker.process->recording) : -EAGAIN;
}

HL_EXPORT void heapline_reason(char *to, size_t room)
{
    hl_wire_process *p = hl_tracker.process;
    copy(to, room, p ? p->reason : "");
}

/* --------------------------------------------------------------------------------------------------------- ending */

HL_EXPORT int heapline_leave(void)
{
    uint32_t joining = HL_JOINING;
    if (stage == BEGUN) { /* something went wrong in between */
        atomic_compare_exchange_strong(&hl_tracker.state, &joining, HL_QUIET);
        stage = LEFT;
        return 0;
    }
    if (stage != ENTERED)
        return -EINVAL;
    int saved = errno;
    hl_tracker_quit();
    hl_lines_stop();
    hl_python_leave();
    hl_python_name_known(0, NULL, 0);
    stage = LEFT;
    errno = saved;
    return 0;
}

static void count_open(hl_wire_writer *w, void *count) { *(uint32_t *)count += atomic_load(&w->open) != 0; }

/* Hooks that were at work write their event; one that was left by a jump never ends, so there is a limit. */
static void wait_for_hooks(hl_session *s)
{
    hl_os_call(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0, 0, 0, 0);
    uint64_t until_ns = hl_os_now_ns() + QUIET_LIMIT_NS;
    for (uint32_t open = 1; open && hl_os_now_ns() < until_ns;) {
        open = 0;
        each_writer(s, hl_tracker.process_index, count_open, &open);
        if (open)
            hl_os_yield();
    }
}

/* Until the profile is complete, and the collector gone. */
static int wait_for_collector(hl_session *s)
{
    while (!atomic_load(&s->root_saved) && !is_dead(s))
        hl_os_wait(&s->root_saved, 0, STEP_NS);
    uint32_t saved = atomic_load(&s->root_saved); /* perhaps just before it died */
    if (saved != 1)
        return saved ? -atomic_load(&s->root_error) : -ECHILD;
    for (int tries = 0; tries < 1000 && !is_dead(s); tries++)
        hl_os_call(SYS_nanosleep, (long)&(struct timespec){.tv_nsec = 1000000}, 0, 0, 0, 0, 0);
    return 0;
}

HL_EXPORT int heapline_end(void)
{
    if (stage != LEFT)
        return -EINVAL;
    int saved = errno, error = 0;
    hl_session *s = hl_tracker.session;
    if (hl_tracker.inside)
        hl_patch_end();
    wait_for_hooks(s);
    if (s->root_pid == (uint32_t)hl_os_pid()) {
        atomic_store(&s->stop, HL_STOP_PROGRAM);
        wake(s);
        error = wait_for_collector(s);
    }
    forget_numbers();
    keep_session(s);
    hl_tracker.process = NULL;
    stage = NONE;
    errno = saved;
    return error;
}

HL_EXPORT void heapline_forked(void)
{
    hl_patch_forked();
    hl_pymem_forked();
    uint32_t joining = HL_JOINING; /* between two steps of the parent: nothing was recorded yet */
    atomic_compare_exchange_strong(&hl_tracker.state, &joining, HL_QUIET);
    if (stage == BEGUN)
        stage = LEFT;
}

/* ------------------------------------------------------------------------------------------------------ questions */

HL_EXPORT void heapline_mark(int kind, const char *name, size_t bytes)
{
    uint64_t words[HL_MARK_BYTES_MOST / 8] = {0};
    bytes = bytes < HL_MARK_BYTES_MOST ? bytes : HL_MARK_BYTES_MOST;
    while (bytes && bytes == HL_MARK_BYTES_MOST && ((unsigned char)name[bytes] & 0xc0) == 0x80)
        bytes--; /* whole characters */
    memcpy(words, name, bytes);
    hl_wire_writer *w = hl_enter(0);
    if (!w)
        return;
    hl_put_event(w, 0, HL_WORD(HL_WORD_MARK, (uint64_t)(unsigned)kind << 32 | bytes), words, (unsigned)(bytes + 7) / 8);
    hl_leave(w);
}

HL_EXPORT void *heapline_numbers(int which)
{
    hl_wire_process *p = hl_tracker.process;
    if (!p || atomic_load(&hl_tracker.state) != HL_RECORDING)
        return NULL;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), offset = (uintptr_t)p & (page - 1);
    if (page > sizeof numbers.page)
        return NULL;
    if (numbers.of != p) { /* the slot's page once more: a mapping of no length is a copy of a shared one */
        long error = hl_os_call(SYS_mremap, (long)((uintptr_t)p - offset), 0, (long)page, MREMAP_MAYMOVE | MREMAP_FIXED,
                                (long)numbers.page, 0);
        if (error < 0 && error > -4096)
            return NULL;
        numbers.of = p;
    }
    static const size_t fields[] = {offsetof(hl_wire_process, watched), offsetof(hl_wire_process, heap),
                                    offsetof(hl_wire_process, part)};
    return numbers.page + offset + fields[which];
}

static int wait_for(_Atomic uint32_t *done, uint32_t asked, uint32_t limit_ms)
{
    hl_session *s = hl_tracker.session;
    uint64_t until_ns = hl_os_now_ns() + (uint64_t)limit_ms * 1000000;
    wake(s);
    for (uint32_t now; (int32_t)((now = atomic_load(done)) - asked) < 0;) {
        if (is_dead(s) || atomic_load(&s->ended))
            return -ESRCH;
        if (hl_os_now_ns() >= until_ns)
            return -ETIMEDOUT;
        hl_os_wait(done, now, STEP_NS);
    }
    return 0;
}

HL_EXPORT int heapline_sync(uint32_t limit_ms)
{
    hl_wire_process *p = hl_tracker.process;
    if (!p || atomic_load(&hl_tracker.state) != HL_RECORDING)
        return -ESRCH;
    return wait_for(&p->sync_done, atomic_fetch_add(&p->sync_asked, 1) + 1, limit_ms);
}

HL_EXPORT int heapline_checkpoint(uint32_t limit_ms)
{
    hl_session *s = hl_tracker.session;
    if (!hl_tracker.process || atomic_load(&hl_tracker.state) != HL_RECORDING)
        return -ESRCH;
    int error = wait_for(&s->checkpoint_done, atomic_fetch_add(&s->checkpoint_asked, 1) + 1, limit_ms);
    return error ? error : -atomic_load(&s->checkpoint_error);
}
