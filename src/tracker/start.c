/*
 * start.c - a recording with no parent command (`heapline env`): the first process starts the collector itself.
 *
 * Runs while joining, before main. The collector is a grandchild without an exit signal, so that the program's own
 * waiting never sees it. Started is
 *
 *     heapline collect --program PID --ready-fd N [words of HEAPLINE_OPTIONS]
 *
 * which writes the session's locator and a newline to descriptor N once its session is open.
 */
#include "tracker.h"

#include "python.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READY_LIMIT_MS = 5000, MOST_WORDS = 64, MOST_VARIABLES = 4096, OPTION_BYTES = 8192 };

/* What the collector's process is started with; in pages of its own. */
typedef struct launch {
    const char *arguments[MOST_WORDS + 8];
    const char *variables[MOST_VARIABLES + 1];
    char options[OPTION_BYTES], pid[16], ready[16];
} launch;

static const char *number(char *end, uint32_t value)
{
    *--end = '\0';
    do
        *--end = (char)('0' + value % 10);
    while (value /= 10);
    return end;
}

/* Splits at blanks; '...' and \ quote. Returns the number of words, or -1: too many or too long. */
static int split(const char *text, char *to, size_t room, const char **words, int most)
{
    int count = 0;
    bool in_word = false, quoted = false;
    for (char *end = to + room - 1; *text; text++) {
        if (!quoted && (*text == ' ' || *text == '\t' || *text == '\n')) {
            if (in_word)
                *to++ = '\0';
            in_word = false;
            continue;
        }
        if (to >= end)
            return -1;
        if (!in_word) {
            if (count == most)
                return -1;
            words[count++] = to;
            in_word = true;
        }
        if (*text == '\'')
            quoted = !quoted;
        else if (*text == '\\' && !quoted && text[1])
            *to++ = *++text;
        else
            *to++ = *text;
    }
    *to = '\0';
    return count;
}

static bool prepare(launch *l, const char *binary, const char *options, int ready_fd)
{
    const char **a = l->arguments;
    *a++ = binary;
    *a++ = "collect";
    *a++ = "--program";
    *a++ = number(l->pid + sizeof l->pid, (uint32_t)hl_os_pid());
    *a++ = "--ready-fd";
    *a++ = number(l->ready + sizeof l->ready, (uint32_t)ready_fd);
    int words = split(options, l->options, sizeof l->options, a, MOST_WORDS);
    if (words < 0)
        return false;
    a[words] = NULL;
    size_t n = 0;
    for (char **at = environ; *at && n < MOST_VARIABLES; at++)
        if (strncmp(*at, "LD_PRELOAD=", 11) != 0 && strncmp(*at, "HEAPLINE_", 9) != 0)
            l->variables[n++] = *at;
    l->variables[n] = NULL;
    return true;
}

/* A child that says nothing when it ends; 0 in the child. */
static long quiet_fork(void) { return hl_os_call(SYS_clone, 0, 0, 0, 0, 0, 0); }

/* The locator from the pipe, without its newline. */
static int read_locator(int fd, char *locator, size_t room)
{
    uint64_t until_ns = hl_os_now_ns() + UINT64_C(1000000) * READY_LIMIT_MS;
    for (size_t n = 0; n < room;) {
        uint64_t now_ns = hl_os_now_ns();
        struct timespec left = {.tv_nsec = 0};
        if (now_ns >= until_ns)
            return -ETIMEDOUT;
        left.tv_sec = (time_t)((until_ns - now_ns) / 1000000000);
        left.tv_nsec = (long)((until_ns - now_ns) % 1000000000);
        struct pollfd p = {fd, POLLIN, 0};
        long found = hl_os_call(SYS_ppoll, (long)&p, 1, (long)&left, 0, 0, 0);
        if (found == -EINTR || found == 0)
            continue;
        if (found < 0)
            return (int)found;
        long got = hl_os_call(SYS_read, fd, (long)(locator + n), 1, 0, 0, 0);
        if (got == -EINTR)
            continue;
        if (got <= 0)
            return -ECHILD;
        if (locator[n] == '\n') {
            locator[n] = '\0';
            return 0;
        }
        n++;
    }
    return -ENAMETOOLONG;
}

int hl_start_session(const char *binary, const char *options, char *locator, size_t room)
{
    int fd[2] = {-1, -1};
    long error = hl_os_call(SYS_pipe2, (long)fd, O_CLOEXEC, 0, 0, 0, 0);
    if (error < 0)
        return (int)error;
    launch *l = hl_os_pages(sizeof *l);
    if (!l || !prepare(l, binary, options, fd[1])) {
        error = -E2BIG;
        hl_os_call(SYS_close, fd[1], 0, 0, 0, 0, 0);
        goto close_pipe;
    }
    long child = quiet_fork();
    if (child == 0) {
        if (quiet_fork() == 0) {
            hl_os_call(SYS_fcntl, fd[1], F_SETFD, 0, 0, 0, 0);
            hl_os_call(SYS_execve, (long)binary, (long)l->arguments, (long)l->variables, 0, 0, 0);
        }
        hl_os_call(SYS_exit_group, 127, 0, 0, 0, 0, 0);
    }
    hl_os_call(SYS_close, fd[1], 0, 0, 0, 0, 0);
    if (child > 0)
        while (hl_os_call(SYS_wait4, child, 0, __WALL, 0, 0, 0) == -EINTR) {}
    error = child < 0 ? child : read_locator(fd[0], locator, room);
close_pipe:
    hl_os_call(SYS_close, fd[0], 0, 0, 0, 0, 0);
    if (l)
        hl_os_give_back(l, sizeof *l);
    return (int)error;
}

/* A job script runs many small programs; a recording begins with the first that has Python in it. */
bool hl_start_is_wanted(const char *options)
{
    return strstr(options, "--children=all") || strstr(options, "--children all") || hl_python_is_here();
}
