/*
 * tracker.c - joining a session, leaving it, and what the process says of itself in its slot.
 *
 * Runs in the program: in the constructor, or in the first hook before it (libraries' constructors allocate), in a forked
 * child, on whichever thread finds that the collector is gone, and in a program that is not preloaded when it asks to be
 * recorded (inside.c).
 */
#include "tracker.h"

#include "lines.h"
#include "native.h"
#include "patch.h"
#include "pymem.h"
#include "python.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------- the process slot */

size_t hl_read_file(const char *path, char *to, size_t room)
{
    long fd = hl_os_call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    size_t n = 0;
    if (fd < 0)
        return 0;
    while (n < room) {
        long got = hl_os_call(SYS_read, fd, (long)(to + n), (long)(room - n), 0, 0, 0);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return n;
}

/* Texts are read by the collector at any moment: a sequence lock, odd while they change. */
static void begin_texts(hl_wire_process *p) { atomic_fetch_add(&p->text_version, 1); }
static void end_texts(hl_wire_process *p)
{
    atomic_fetch_add(&p->text_version, 1);
    atomic_fetch_add(&p->facts, 1);
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("_-./:=,+@%", c)) || (unsigned char)c >= 0x80;
}

/* One argument, quoted as a shell would need it. Returns the new end. */
static size_t put_argument(char *to, size_t at, size_t room, const char *text, size_t n)
{
    bool plain = n > 0;
    for (size_t i = 0; i < n && plain; i++)
        plain = is_plain(text[i]);
    if (!plain && at < room)
        to[at++] = '\'';
    for (size_t i = 0; i < n && at + 4 < room; i++) {
        if (text[i] == '\'') {
            for (const char *quoted = "'\\''"; *quoted; quoted++)
                to[at++] = *quoted;
        } else {
            to[at++] = text[i];
        }
    }
    if (!plain && at < room)
        to[at++] = '\'';
    return at;
}

static void describe(hl_wire_process *p)
{
    long n = hl_os_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)p->executable, sizeof p->executable - 1,
                        0, 0);
    p->executable[n > 0 ? n : 0] = '\0';

    char arguments[sizeof p->command] = "";
    size_t bytes = hl_read_file("/proc/self/cmdline", arguments, sizeof arguments), at = 0;
    for (size_t i = 0; i < bytes && at + 1 < sizeof p->command;) {
        size_t length = strnlen(arguments + i, bytes - i);
        if (i)
            p->command[at++] = ' ';
        at = put_argument(p->command, at, sizeof p->command - 1, arguments + i, length);
        i += length + 1;
    }
    p->command[at] = '\0';
}

static hl_wire_process *claim_process(hl_session *s, uint32_t *index)
{
    for (uint32_t i = 0;; i++) {
        uint32_t used = atomic_load(&s->processes_used);
        if (i == used) {
            if (used >= HL_MAX_PROCESSES)
                return NULL;
            atomic_compare_exchange_strong(&s->processes_used, &used, used + 1);
        }
        hl_wire_process *p = hl_session_process(s, i);
        uint32_t is_free = HL_PROCESS_FREE;
        if (atomic_load(&p->state) == HL_PROCESS_FREE &&
            atomic_compare_exchange_strong(&p->state, &is_free, HL_PROCESS_JOINING)) {
            *index = i;
            return p;
        }
    }
}

/* A forked child's texts are its parent's: no system call, as the program may have forbidden all but a few by now
 * (seccomp). False: the parent's slot is another's already. */
static bool describe_as(hl_wire_process *p, const hl_wire_process *parent, int32_t parent_pid)
{
    if (!parent || parent == p)
        return false;
    uint32_t seed = parent->seed;
    memcpy(p->executable, parent->executable, sizeof p->executable);
    memcpy(p->command, parent->command, sizeof p->command);
    atomic_thread_fence(memory_order_acquire);
    return parent->pid == parent_pid && parent->seed == seed;
}

/* Takes and fills a slot; it is told that nothing is recorded, until hl_tracker_set_recording. `parent` is the slot of the
 * process that was forked; NULL: the image is a new one. */
static bool open_process(uint32_t born_by, int32_t parent_pid, const hl_wire_process *parent)
{
    hl_session *s = hl_tracker.session;
    hl_wire_process *p = claim_process(s, &hl_tracker.process_index);
    hl_tracker.process = p;
    if (!p)
        return false;
    atomic_store(&p->order, UINT64_C(1) << 16);
    p->pid = hl_tracker.pid;
    p->parent_pid = parent_pid;
    p->seed = atomic_fetch_add(&s->seeds, 1);
    p->born_by = born_by;
    p->base = (uint64_t)s;
    p->start_ns = hl_os_now_ns();
    atomic_store(&p->recording, HL_RECORDING_NOTHING);
    atomic_store(&p->python_version, 0);
    atomic_store(&p->python_flags, 0);
    atomic_store(&p->exit_status, 0);
    atomic_store(&p->lost, 0);
    atomic_store(&p->watched, 0);
    atomic_store(&p->sync_asked, 0);
    atomic_store(&p->sync_done, 0);
    atomic_store(&p->heap, 0);
    atomic_store(&p->peak, 0);
    atomic_store(&p->seen_ns, 0);
    p->part = (hl_wire_part){0};
    p->rss_before = parent ? 0 : hl_resident_peak(); /* a forked child begins with its parent's pages: no call needed */
    atomic_store(&p->rss_peak, 0);
    begin_texts(p);
    if (!describe_as(p, parent, parent_pid))
        describe(p);
    p->reason[0] = '\0';
    end_texts(p);
    return true;
}

void hl_tracker_set_recording(hl_recording recording, const char *reason)
{
    hl_wire_process *p = hl_tracker.process;
    if (!p)
        return;
    begin_texts(p);
    size_t n = reason ? strnlen(reason, sizeof p->reason - 1) : 0;
    if (n)
        memcpy(p->reason, reason, n);
    p->reason[n] = '\0';
    atomic_store(&p->recording, recording);
    end_texts(p);
}

void hl_tracker_set_python(uint32_t version, uint32_t flags)
{
    hl_wire_process *p = hl_tracker.process;
    if (!p)
        return;
    atomic_store(&p->python_version, version);
    atomic_store(&p->python_flags, flags);
    atomic_fetch_add(&p->facts, 1);
}

void hl_tracker_lose(uint64_t events)
{
    hl_wire_process *p = hl_tracker.process;
    if (p)
        atomic_fetch_add_explicit(&p->lost, events, memory_order_relaxed);
}

/* ---------------------------------------------------------------------------------------------------- joining */

/* Maps the memory at `locator`; NULL when it is not there, not ours to open, or of another version. */
static hl_session *map_session(const char *locator)
{
    long fd = hl_os_call(SYS_openat, AT_FDCWD, (long)locator, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
    if (fd < 0)
        return NULL;
    hl_session head = {0}; /* the part that never changes is all that is looked at */
    hl_session *s = NULL;
    long n = hl_os_call(SYS_pread64, fd, (long)&head, offsetof(hl_session, locator), 0, 0, 0);
    if (n == offsetof(hl_session, locator) && head.magic == HL_WIRE_MAGIC && head.version == HL_WIRE_VERSION &&
        head.bytes == hl_session_bytes(head.chunks)) {
        long p = hl_os_call(SYS_mmap, 0, (long)head.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p > 0 || p < -4095)
            s = (hl_session *)p;
    }
    hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return s;
}

/* Pids there are not those that the collector sees: it would watch some other process. */
static bool is_in_other_pid_namespace(const hl_session *s)
{
    struct stat own = {0};
    return s->pid_namespace &&
           hl_os_call(SYS_newfstatat, AT_FDCWD, (long)"/proc/self/ns/pid", (long)&own, 0, 0, 0) == 0 &&
           own.st_ino != s->pid_namespace;
}

static bool is_root_pid(const hl_session *s) { return s->root_pid == 0 || s->root_pid == (uint32_t)hl_tracker.pid; }

/* Why this image is not recorded; NULL: it is. */
static const char *reason_not_to_record(hl_session *s)
{
    bool is_root = is_root_pid(s);
    if (s->children == HL_CHILDREN_ALL || (is_root && s->root_any))
        return NULL;
    if (!is_root && s->children == HL_CHILDREN_NONE)
        return "a child process (--children=none)";
    return hl_python_is_here() ? NULL : "not Python (--children=all records it)";
}

/* From here on events are recorded. The order matters: hooks look at `on` first, and then at the rest. */
static void begin_recording(bool forked)
{
    hl_tracker.live.order = &hl_tracker.process->order;
    hl_tracker.live.root = HL_ROOT_NODE(hl_tracker.process->seed);
    hl_tracker.shared = hl_claim_shared_writer();
    atomic_store(&hl_tracker.shared_holder, 0);
    atomic_store(&hl_tracker.shared_mark, 0);
    if (!hl_tracker.shared) {
        hl_tracker_set_recording(HL_RECORDING_NOTHING, "too many threads are being recorded already");
        atomic_store(&hl_tracker.state, HL_QUIET);
        return;
    }
    atomic_store(&hl_tracker.session->began, 1);
    hl_tracker_set_recording(HL_RECORDING_MALLOC, NULL);
    hl_native_join();
    if (forked)
        hl_python_forked();
    else
        hl_python_join();
    hl_lines_begin(forked);
    atomic_store(&hl_tracker.state, HL_RECORDING);
    atomic_store(&hl_tracker.process->state, HL_PROCESS_RUNNING);
    atomic_thread_fence(memory_order_seq_cst);
    hl_tracker.live.on = UINTPTR_MAX;
}

static void stay_quiet(const char *reason)
{
    hl_tracker_set_recording(HL_RECORDING_NOTHING, reason);
    atomic_store(&hl_tracker.process->state, HL_PROCESS_RUNNING);
    atomic_store(&hl_tracker.state, HL_QUIET);
}

/* Finds the session's memory, and removes our variables. False: there is none for this process. */
static bool find_session(char *locator, size_t room)
{
    const char *session = hl_environment_get(HL_ENV_SESSION), *starter = hl_environment_get(HL_ENV_START);
    const char *options = hl_environment_get(HL_ENV_OPTIONS);
    bool found = false;
    if (session && strlen(session) < room) {
        memcpy(locator, session, strlen(session) + 1);
        found = true;
    } else if (!session && starter) {
        if (!hl_start_is_wanted(options ? options : ""))
            return false; /* the variables stay, for its children */
        found = hl_start_session(starter, options ? options : "", locator, room) == 0;
    }
    Dl_info self;
    if (dladdr((void *)(uintptr_t)hl_tracker_join, &self) && self.dli_fname)
        hl_environment_clean_preload(self.dli_fname);
    hl_environment_drop(HL_ENV_SESSION);
    hl_environment_drop(HL_ENV_START);
    hl_environment_drop(HL_ENV_OPTIONS);
    return found;
}

/* What is needed once, whatever the number of recordings. False: there is no thread-specific key left. */
static bool prepare_once(void)
{
    static bool done;
    if (done)
        return true;
    hl_os_allow_membarrier();
    hl_watch_exit();
    if (pthread_key_create(&hl_tracker.exit_key, hl_end_thread))
        return false;
    /* Only anonymous pages can be wiped, and this one is the library's own data so far (all of it still zero). */
    hl_os_call(SYS_mmap, (long)&hl_tracker.live, HL_LARGEST_PAGE, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    hl_os_call(SYS_madvise, (long)&hl_tracker.live, HL_LARGEST_PAGE, MADV_WIPEONFORK, 0, 0, 0);
    return done = true;
}

static void join(void)
{
    char locator[sizeof((hl_session *)0)->locator];
    if (!find_session(locator, sizeof locator))
        return;
    hl_session *s = map_session(locator);
    if (!s)
        return;
    hl_environment_clean_preload(s->preload);
    if (atomic_load(&s->ended) || is_in_other_pid_namespace(s)) {
        hl_os_give_back(s, s->bytes);
        return;
    }
    hl_tracker.session = s;
    const char *reason = reason_not_to_record(s);
    if (reason && !is_root_pid(s) && !atomic_load(&s->began)) /* what a shell script runs on its way to Python */
        return;
    if (!open_process(0, hl_os_parent_pid(), NULL))
        return;
    if (!prepare_once() && !reason)
        reason = "the program has no thread-specific key left";
    if (reason) {
        stay_quiet(reason);
        return;
    }
    begin_recording(false);
}

void hl_tracker_join(void)
{
    uint32_t outside = HL_OUTSIDE;
    if (!environ || /* libc itself is not ready */
        !atomic_compare_exchange_strong(&hl_tracker.state, &outside, HL_JOINING))
        return;
    int saved = errno;
    hl_tracker.pid = hl_os_pid();
    hl_real_find();
    join();
    uint32_t joining = HL_JOINING;
    atomic_compare_exchange_strong(&hl_tracker.state, &joining, HL_QUIET); /* unless it records */
    errno = saved;
}

int hl_tracker_prepare(const char *locator)
{
    static uint32_t recordings;
    uint32_t quiet = HL_QUIET;
    if (!atomic_compare_exchange_strong(&hl_tracker.state, &quiet, HL_JOINING))
        return -EBUSY;
    int error = 0;
    hl_real_find();
    hl_session *s = map_session(locator);
    if (!s) {
        error = -ENXIO;
        goto give_up;
    }
    if (atomic_load(&s->ended) || is_in_other_pid_namespace(s)) {
        hl_os_give_back(s, s->bytes);
        error = -ENXIO;
        goto give_up;
    }
    hl_tracker.pid = hl_os_pid();
    atomic_store(&hl_tracker.next_writer, 0);
    atomic_store(&hl_tracker.no_writer_until_ns, 0);
    hl_tracker.shared = NULL;
    hl_tracker.session = s;
    atomic_store(&s->seeds, ++recordings << 16); /* nodes and code of earlier recordings have other names */
    hl_pools_forked();
    if (!prepare_once() || !open_process(HL_BORN_INSIDE, hl_os_parent_pid(), NULL)) {
        error = -EAGAIN;
        goto give_up;
    }
    return 0;
give_up:
    atomic_store(&hl_tracker.state, HL_QUIET);
    return error;
}

void hl_tracker_go(void)
{
    hl_tracker.walk = NULL;
    hl_native.python_walk = NULL;
    begin_recording(false);
}

/* Whether a program that runs has loaded the library, and not the loader before it (LD_PRELOAD). */
static bool is_loaded_late(void)
{
    void *program = dlopen(NULL, RTLD_LAZY); /* what is loaded for itself alone is not found through it */
    return program && dlsym(program, HL_TRACKER_SYMBOL) == NULL;
}

__attribute__((constructor(101))) static void start(void)
{
    uint32_t outside = HL_OUTSIDE;
    if (atomic_load(&hl_tracker.state) == HL_OUTSIDE && is_loaded_late() &&
        atomic_compare_exchange_strong(&hl_tracker.state, &outside, HL_QUIET)) {
        hl_tracker.inside = true;
        hl_tracker.pid = hl_os_pid();
        return;
    }
    hl_tracker_join();
}

/* ------------------------------------------------------------------------------------------ leaving, forking */

void hl_tracker_forked(void)
{
    int32_t parent_pid = hl_tracker.pid, pid = hl_os_pid();
    uint32_t state = atomic_load(&hl_tracker.state);
    if (pid == parent_pid || !hl_tracker.process || (state != HL_RECORDING && state != HL_QUIET))
        return;
    int saved = errno;
    hl_session *s = hl_tracker.session;
    const hl_wire_process *parent = hl_tracker.process;
    hl_tracker.live.on = 0; /* where the kernel could not do it */
    hl_self = NULL;
    hl_tracker.pid = pid;
    hl_tracker.shared = NULL;
    atomic_store(&hl_tracker.next_writer, 0);
    hl_pools_forked();
    hl_patch_forked();
    hl_pymem_forked();
    bool was_recorded = state == HL_RECORDING;
    atomic_store(&hl_tracker.state, HL_JOINING);
    bool unlisted = !was_recorded && !atomic_load(&s->began);
    hl_tracker.process = NULL;
    if (hl_os_parent_pid() == 0) { /* the first of a pid namespace: see is_in_other_pid_namespace */
        hl_tracker.session = NULL;
        atomic_store(&hl_tracker.state, HL_QUIET);
    } else if (atomic_load(&s->ended) || unlisted || !open_process(HL_CHILD_FORK, parent_pid, parent)) {
        atomic_store(&hl_tracker.state, HL_QUIET);
    } else if (!was_recorded) {
        stay_quiet("its parent is not recorded");
    } else if (s->children == HL_CHILDREN_NONE) {
        stay_quiet("a child process (--children=none)");
    } else {
        begin_recording(true); /* what hl_os_allow_membarrier said holds for children too */
    }
    errno = saved;
}

void hl_tracker_quit(void)
{
    uint32_t recording = HL_RECORDING;
    if (atomic_compare_exchange_strong(&hl_tracker.state, &recording, HL_QUIET))
        hl_tracker.live.on = 0;
}

void hl_tracker_stalled(void)
{
    hl_wire_process *p = hl_tracker.process;
    hl_tracker_lose(1);
    if (p)
        hl_tracker_set_recording(atomic_load(&p->recording),
                                 "the collector took nothing for 10 s: recording ended early");
    hl_tracker_quit();
}
