/*
 * process.c - fork and wait: tells the collector which children there are and how they ended.
 *
 * A forked child finds by itself that it is another process (tracker.h, `live`); here it is told at once, so that it has a
 * row even when it never allocates. The wait functions tell how children ended whom the collector does not see end.
 */
#include "process.h"

#include "ring.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

void *hl_process_real(void **slot, const char *name)
{
    void *real = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    if (HL_UNLIKELY(!real)) {
        int saved = errno;
        real = hl_real_next(name);
        __atomic_store_n(slot, real, __ATOMIC_RELEASE);
        errno = saved;
    }
    return real;
}

/* Look-ups are done before main: dlsym takes locks that a forked child may find taken. */
static struct {
    void *fork, *fork_only, *wait, *waitpid, *wait3, *wait4, *waitid;
} real;

__attribute__((constructor(102))) static void find_all(void)
{
    hl_process_real(&real.fork, "fork");
    hl_process_real(&real.fork_only, "_Fork");
    hl_process_real(&real.wait, "wait");
    hl_process_real(&real.waitpid, "waitpid");
    hl_process_real(&real.wait3, "wait3");
    hl_process_real(&real.wait4, "wait4");
    hl_process_real(&real.waitid, "waitid");
}

void hl_process_child(hl_child_kind kind, pid_t pid)
{
    hl_wire_writer *w = hl_enter(0);
    if (!w)
        return;
    hl_put_event(w, 0, HL_WORD(HL_WORD_CHILD, (uint64_t)kind << 32 | (uint32_t)pid), NULL, 0);
    hl_leave(w);
}

void hl_process_exec(const char *path)
{
    if (!hl_tracker.live.on)
        return;
    if (!hl_tracker_is_own_process()) { /* a vfork child; its parent's thread waits, so this may be written in its name */
        hl_process_child(HL_CHILD_VFORK, hl_os_pid());
        return;
    }
    hl_wire_writer *w = hl_enter(0);
    if (!w)
        return;
    hl_put_bytes(w, HL_WORD(HL_WORD_EXEC, 0), path, strlen(path));
    hl_leave(w);
}

/* ------------------------------------------------------------------------------------------------------ fork */

static pid_t after_fork(pid_t pid)
{
    if (pid == 0)
        hl_tracker_forked();
    else if (pid > 0)
        hl_process_child(HL_CHILD_FORK, pid);
    return pid;
}

HL_EXPORT pid_t fork(void)
{
    pid_t (*next)(void) = (pid_t(*)(void))hl_process_real(&real.fork, "fork");
    return after_fork(next());
}

pid_t _Fork(void); // NOLINT(readability-redundant-declaration): glibc before 2.34 has none
HL_EXPORT pid_t _Fork(void)
{
    pid_t (*next)(void) = (pid_t(*)(void))hl_process_real(&real.fork_only, "_Fork");
    if (!next) { /* glibc before 2.34 */
        errno = ENOSYS;
        return -1;
    }
    return after_fork(next());
}

/* ------------------------------------------------------------------------------------------------------ wait */

static pid_t after_wait(pid_t pid, int status)
{
    if (pid <= 0 || (!WIFEXITED(status) && !WIFSIGNALED(status)))
        return pid;
    int saved = errno;
    hl_wire_writer *w = hl_enter(0);
    if (w) {
        hl_put_event(w, 0, HL_WORD(HL_WORD_WAITED, (uint32_t)pid), &(uint64_t){(uint32_t)status}, 1);
        hl_leave(w);
    }
    errno = saved;
    return pid;
}

static pid_t give(pid_t pid, const int *status, int *to)
{
    if (to && pid > 0)
        *to = *status;
    return after_wait(pid, *status);
}

HL_EXPORT pid_t wait(int *status)
{
    pid_t (*next)(int *) = (pid_t(*)(int *))hl_process_real(&real.wait, "wait");
    int seen = 0;
    return give(next(&seen), &seen, status);
}

HL_EXPORT pid_t waitpid(pid_t pid, int *status, int options)
{
    pid_t (*next)(pid_t, int *, int) = (pid_t(*)(pid_t, int *, int))hl_process_real(&real.waitpid, "waitpid");
    int seen = 0;
    return give(next(pid, &seen, options), &seen, status);
}

HL_EXPORT pid_t wait3(int *status, int options, struct rusage *usage)
{
    typedef pid_t function(int *, int, struct rusage *);
    function *next = (function *)hl_process_real(&real.wait3, "wait3");
    int seen = 0;
    return give(next(&seen, options, usage), &seen, status);
}

HL_EXPORT pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    typedef pid_t function(pid_t, int *, int, struct rusage *);
    function *next = (function *)hl_process_real(&real.wait4, "wait4");
    int seen = 0;
    return give(next(pid, &seen, options, usage), &seen, status);
}

HL_EXPORT int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    typedef int function(idtype_t, id_t, siginfo_t *, int);
    function *next = (function *)hl_process_real(&real.waitid, "waitid");
    siginfo_t own = {0};
    siginfo_t *seen = info ? info : &own;
    int result = next(type, id, seen, options);
    if (result != 0 || (options & WNOWAIT) || seen->si_pid <= 0)
        return result;
    if (seen->si_code == CLD_EXITED)
        after_wait(seen->si_pid, (seen->si_status & 0xff) << 8);
    else if (seen->si_code == CLD_KILLED || seen->si_code == CLD_DUMPED)
        after_wait(seen->si_pid, (seen->si_status & 0x7f) | (seen->si_code == CLD_DUMPED ? 0x80 : 0));
    return result;
}
