/* program.c - see program.h. */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* LD_PRELOAD with our library in front of the user's own, and the session's locator; nothing where `tracker` is null. */
static int set_environment(const hl_session *session, const char *tracker)
{
    unsetenv(HL_ENV_START);
    unsetenv(HL_ENV_OPTIONS);
    if (tracker == NULL)
        return 0;
    const char *before = getenv("LD_PRELOAD");
    size_t bytes = strlen(tracker) + (before != NULL ? strlen(before) : 0) + 2;
    char *preload = malloc(bytes);
    if (preload == NULL)
        return -ENOMEM;
    bool some = before != NULL && before[0] != '\0';
    snprintf(preload, bytes, "%s%s%s", tracker, some ? ":" : "", some ? before : "");
    int failed = setenv("LD_PRELOAD", preload, 1) != 0 || setenv(HL_ENV_SESSION, session->locator, 1) != 0;
    return failed ? -errno : 0;
}

static void execute(const char *path, char **argv)
{
    execve(path, argv, environ);
    if (errno != ENOEXEC)
        return;
    /* A script without #!: what execvp and shells do. */
    size_t n = 0;
    while (argv[n] != NULL)
        n++;
    char **words = calloc(n + 2, sizeof *words);
    if (words == NULL)
        return;
    words[0] = "sh";
    words[1] = (char *)path;
    memcpy(words + 2, argv + 1, n * sizeof *words);
    execve("/bin/sh", words, environ);
}

static _Noreturn void wait_and_execute(int go, int failed, const char *path, char **argv, hl_session *session,
                                       const char *tracker, const hl_signals *before)
{
    char byte;
    ssize_t n;
    do
        n = read(go, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(0);
    int error = set_environment(session, tracker);
    if (error == 0) {
        hl_foreground_restore(before);
        execute(path, argv);
        error = -errno;
    }
    error = -error;
    if (write(failed, &error, sizeof error) != sizeof error)
        _exit(126);
    _exit(127);
}

int hl_program_hold(hl_program *program, const char *path, char **argv, hl_session *session, const char *tracker,
                    const hl_signals *before)
{
    int go[2], failed[2], error;
    if (pipe2(go, O_CLOEXEC) != 0)
        return -errno;
    if (pipe2(failed, O_CLOEXEC) != 0) {
        error = -errno;
        goto close_go;
    }
    pid_t pid = fork();
    if (pid < 0) {
        error = -errno;
        goto close_failed;
    }
    if (pid == 0) {
        close(go[1]);
        close(failed[0]);
        wait_and_execute(go[0], failed[1], path, argv, session, tracker, before);
    }
    close(go[0]);
    close(failed[1]);
    *program = (hl_program){.pid = pid, .go = go[1], .failed = failed[0]};
    return 0;

close_failed:
    close(failed[0]);
    close(failed[1]);
close_go:
    close(go[0]);
    close(go[1]);
    return error;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
}

int hl_program_release(hl_program *program)
{
    int error = 0;
    if (write(program->go, "", 1) != 1)
        return -errno;
    close(program->go);
    ssize_t n;
    do
        n = read(program->failed, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    close(program->failed);
    if (n != sizeof error)
        return 0;
    reap(program->pid);
    return -error;
}

void hl_program_drop(hl_program *program)
{
    close(program->go);
    close(program->failed);
    kill(program->pid, SIGKILL);
    reap(program->pid);
}
