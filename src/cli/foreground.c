/* foreground.c - see foreground.h. */
#include "foreground.h"

#include "witness.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void hl_foreground_begin(hl_signals *before)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before->mask);
    before->child_ignored = signal(SIGCHLD, SIG_DFL) == SIG_IGN;
}

void hl_foreground_restore(const hl_signals *before)
{
    if (before->child_ignored)
        signal(SIGCHLD, SIG_IGN);
    sigprocmask(SIG_SETMASK, &before->mask, NULL);
}

static void pass_on(pid_t program, pid_t *witness, const siginfo_t *got)
{
    int number = got->si_signo;
    bool from_process = got->si_code <= 0;
    if (!from_process && number != SIGHUP && number != SIGCONT && number != SIGWINCH)
        return; /* the terminal's, for the whole group, or our own fault */
    if (hl_witness_saw(witness, number))
        return;
    /* The program signals its parent: it means the process that would be its parent without us. */
    pid_t to = from_process && got->si_pid == program ? getppid() : program;
    if (to <= 1)
        return;
    if (got->si_code == SI_QUEUE)
        sigqueue(to, number, got->si_value);
    else
        kill(to, number);
}

/* Stops as the program did, so that the shell that waits for us sees a stopped job. The SIGCONT that ends it is pending then.
 * A SIGSTOP to the program alone is not the terminal's doing, and whoever sent it continues the program without us. */
static void stop_too(int number)
{
    if (number != SIGTSTP && number != SIGTTIN && number != SIGTTOU)
        return;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    kill(getpid(), number);
    sigprocmask(SIG_UNBLOCK, &one, NULL); /* we stop here, or nowhere when nobody could continue us (orphaned group) */
    sigprocmask(SIG_BLOCK, &one, NULL);
}

/* Whether the program has ended. */
static bool look_after(pid_t program, int *status, struct rusage *use)
{
    pid_t found;
    while ((found = wait4(program, status, WNOHANG | WUNTRACED, use)) != 0) {
        if (found < 0 && errno == EINTR)
            continue;
        if (found < 0) { /* cannot be: it is our child */
            *status = 0;
            return true;
        }
        if (!WIFSTOPPED(*status))
            return true;
        stop_too(WSTOPSIG(*status));
    }
    return false;
}

int hl_foreground_wait(pid_t program, uint64_t *rss_peak_bytes)
{
    signal(SIGTSTP, SIG_DFL);
    signal(SIGTTIN, SIG_DFL);
    signal(SIGTTOU, SIG_DFL);
    sigset_t all;
    sigfillset(&all);
    pid_t witness = hl_witness_start();
    int status = 0;
    struct rusage use = {0};
    while (!look_after(program, &status, &use)) {
        siginfo_t got;
        if (sigwaitinfo(&all, &got) < 0 || got.si_signo == SIGCHLD)
            continue;
        pass_on(program, &witness, &got);
    }
    hl_witness_end(witness);
    *rss_peak_bytes = (uint64_t)use.ru_maxrss * 1024;
    return status;
}

static int next_signal(void)
{
    sigset_t all;
    sigfillset(&all);
    return sigtimedwait(&all, NULL, &(struct timespec){0});
}

void hl_foreground_forget(void)
{
    while (next_signal() > 0) {}
}

int hl_foreground_interrupted(void)
{
    int number;
    while ((number = next_signal()) > 0) {
        if (number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT)
            return number;
    }
    return 0;
}

int hl_foreground_end(int wait_status)
{
    if (!WIFSIGNALED(wait_status))
        return WEXITSTATUS(wait_status);
    int number = WTERMSIG(wait_status);
    fflush(NULL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0); /* a core_pattern that pipes looks at this and not at the limit */
    signal(number, SIG_DFL);
    kill(getpid(), number);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    return 128 + number;
}
