/*
 * exec.c - the functions that execute a program: each gets our variables into the new program's environment.
 *
 * libc's own functions call each other without coming back here, so all of them are hooked. They run in vfork children too.
 */
#include "process.h"

#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STACK_ROOM = 32768 };

typedef int execve_function(const char *, char *const *, char *const *);
typedef int execveat_function(int, const char *, char *const *, char *const *, int);
typedef int fexecve_function(int, char *const *, char *const *);
typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                           char *const *, char *const *);
typedef int system_function(const char *);
typedef FILE *popen_function(const char *, const char *);

static struct {
    void *execve, *execvpe, *execveat, *fexecve, *posix_spawn, *posix_spawnp, *system, *popen;
} real;

__attribute__((constructor(102))) static void find_all(void)
{
    hl_process_real(&real.execve, "execve");
    hl_process_real(&real.execvpe, "execvpe");
    hl_process_real(&real.execveat, "execveat");
    hl_process_real(&real.fexecve, "fexecve");
    hl_process_real(&real.posix_spawn, "posix_spawn");
    hl_process_real(&real.posix_spawnp, "posix_spawnp");
    hl_process_real(&real.system, "system");
    hl_process_real(&real.popen, "popen");
}

/* ---------------------------------------------------------------------------------------------------- exec */

typedef enum hl_how { BY_PATH, BY_NAME, BY_FD, BY_FOLDER } hl_how;

typedef struct hl_call {
    hl_how how;
    const char *path;
    int fd, flags;
} hl_call;

static int call_real(const hl_call *c, char *const *argv, char *const *environment)
{
    switch (c->how) {
    case BY_NAME:
        return ((execve_function *)hl_process_real(&real.execvpe, "execvpe"))(c->path, argv, environment);
    case BY_FD:
        return ((fexecve_function *)hl_process_real(&real.fexecve, "fexecve"))(c->fd, argv, environment);
    case BY_FOLDER: {
        execveat_function *next = (execveat_function *)hl_process_real(&real.execveat, "execveat");
        if (next)
            return next(c->fd, c->path, argv, environment, c->flags);
        errno = ENOSYS;
        return -1;
    }
    default:
        return ((execve_function *)hl_process_real(&real.execve, "execve"))(c->path, argv, environment);
    }
}

/* The file that will be executed, as far as it has a name. False: it is not there, so the call will fail. */
static bool find_file(const hl_call *c, char path[PATH_MAX])
{
    path[0] = '\0';
    if (c->how == BY_NAME)
        return hl_inject_find(c->path, path);
    if (c->how == BY_PATH) {
        size_t n = strlen(c->path);
        if (n < PATH_MAX)
            memcpy(path, c->path, n + 1);
        return hl_os_call(SYS_faccessat, AT_FDCWD, (long)c->path, X_OK, 0, 0, 0) == 0;
    }
    static const char by_fd[] = "/proc/self/fd/";
    if (c->fd < 0 || (c->how == BY_FOLDER && c->path[0] != '\0'))
        return true;
    memcpy(path, by_fd, sizeof by_fd);
    char digits[12];
    size_t n = 0, at = sizeof by_fd - 1;
    for (unsigned v = (unsigned)c->fd; v || !n; v /= 10)
        digits[n++] = (char)('0' + v % 10);
    while (n)
        path[at++] = digits[--n];
    path[at] = '\0';
    return true;
}

/* Apart, so that only this frame is large. */
static __attribute__((noinline)) int call_with_room_on_stack(const hl_call *c, char *const *argv,
                                                             char *const *environment, size_t bytes)
{
    char *room[bytes / sizeof(char *) + 1];
    return call_real(c, argv, hl_inject(environment, room));
}

static int execute(const hl_call *c, char *const *argv, char *const *environment)
{
    char path[PATH_MAX];
    if (!hl_tracker.session || !find_file(c, path))
        return call_real(c, argv, environment);
    hl_process_exec(path);
    if (!hl_inject_wanted(HL_MAKING_EXEC, path[0] ? path : NULL))
        return call_real(c, argv, environment);
    size_t bytes = hl_inject_bytes(environment);
    if (bytes <= STACK_ROOM)
        return call_with_room_on_stack(c, argv, environment, bytes);
    void *room = hl_os_pages(bytes); /* a vfork child's parent keeps these, which is rare and small */
    int result = call_real(c, argv, room ? hl_inject(environment, room) : environment);
    if (room)
        hl_os_give_back(room, bytes);
    return result;
}

HL_EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
    return execute(&(hl_call){.how = BY_PATH, .path = path}, argv, envp);
}
HL_EXPORT int execv(const char *path, char *const argv[])
{
    return execute(&(hl_call){.how = BY_PATH, .path = path}, argv, environ);
}
HL_EXPORT int execvp(const char *file, char *const argv[])
{
    return execute(&(hl_call){.how = BY_NAME, .path = file}, argv, environ);
}
HL_EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
    return execute(&(hl_call){.how = BY_NAME, .path = file}, argv, envp);
}
HL_EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
    return execute(&(hl_call){.how = BY_FD, .fd = fd}, argv, envp);
}
HL_EXPORT int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
    return execute(&(hl_call){.how = BY_FOLDER, .path = path, .fd = fd, .flags = flags}, argv, envp);
}

/* The arguments of execl and its like: up to a null, which for execle is followed by the environment. */
static size_t count_arguments(va_list arguments)
{
    size_t n = 1;
    while (va_arg(arguments, char *))
        n++;
    return n;
}

static int execute_list(hl_how how, const char *path, const char *first, va_list arguments, bool own_environment)
{
    va_list again;
    va_copy(again, arguments);
    size_t n = count_arguments(again);
    va_end(again);
    char *argv[n + 1];
    argv[0] = (char *)first;
    for (size_t i = 1; i <= n; i++)
        argv[i] = va_arg(arguments, char *);
    char *const *environment = own_environment ? va_arg(arguments, char *const *) : environ;
    return execute(&(hl_call){.how = how, .path = path}, argv, environment);
}

HL_EXPORT int execl(const char *path, const char *arg, ...)
{
    va_list arguments;
    va_start(arguments, arg);
    int result = execute_list(BY_PATH, path, arg, arguments, false);
    va_end(arguments);
    return result;
}
HL_EXPORT int execlp(const char *file, const char *arg, ...)
{
    va_list arguments;
    va_start(arguments, arg);
    int result = execute_list(BY_NAME, file, arg, arguments, false);
    va_end(arguments);
    return result;
}
HL_EXPORT int execle(const char *path, const char *arg, ...)
{
    va_list arguments;
    va_start(arguments, arg);
    int result = execute_list(BY_PATH, path, arg, arguments, true);
    va_end(arguments);
    return result;
}

/* --------------------------------------------------------------------------------------------------- spawn */

typedef struct hl_spawn {
    spawn_function *next;
    pid_t *pid;
    const char *path;
    const posix_spawn_file_actions_t *actions;
    const posix_spawnattr_t *attributes;
    char *const *argv;
} hl_spawn;

static int spawn_with(const hl_spawn *s, char *const *environment)
{
    pid_t pid = 0;
    int error = s->next(&pid, s->path, s->actions, s->attributes, s->argv, environment);
    if (error == 0) {
        if (s->pid)
            *s->pid = pid;
        hl_process_child(HL_CHILD_SPAWN, pid);
    }
    return error;
}

static __attribute__((noinline)) int spawn_with_room_on_stack(const hl_spawn *s, char *const *environment, size_t bytes)
{
    char *room[bytes / sizeof(char *) + 1];
    return spawn_with(s, hl_inject(environment, room));
}

static int spawn(const hl_spawn *s, bool by_name, char *const *environment)
{
    char path[PATH_MAX];
    bool known = by_name ? hl_inject_find(s->path, path) : true;
    if (!known || !hl_inject_wanted(HL_MAKING_CHILD, by_name ? path : s->path))
        return spawn_with(s, environment);
    size_t bytes = hl_inject_bytes(environment);
    if (bytes <= STACK_ROOM)
        return spawn_with_room_on_stack(s, environment, bytes);
    void *room = hl_os_pages(bytes);
    int error = spawn_with(s, room ? hl_inject(environment, room) : environment);
    if (room)
        hl_os_give_back(room, bytes);
    return error;
}

HL_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                          const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    spawn_function *next = (spawn_function *)hl_process_real(&real.posix_spawn, "posix_spawn");
    return spawn(&(hl_spawn){next, pid, path, actions, attributes, argv}, false, envp);
}
HL_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                           const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    spawn_function *next = (spawn_function *)hl_process_real(&real.posix_spawnp, "posix_spawnp");
    return spawn(&(hl_spawn){next, pid, file, actions, attributes, argv}, true, envp);
}

/* ------------------------------------------------------------------------------------------ system and popen
 * libc starts the shell with the program's own environment; the line sets our variables and executes the shell that
 * runs the original line, in the same process. */

enum { LONGEST_LINE = 100000 };

/* Pages with the line; NULL: take the original. */
static char *injected_line(const char *text, size_t *bytes)
{
    if (!text || strlen(text) > LONGEST_LINE || !hl_inject_wanted(HL_MAKING_CHILD, "/bin/sh"))
        return NULL;
    *bytes = hl_inject_line(text, NULL);
    char *pages = hl_os_pages(*bytes);
    if (pages)
        hl_inject_line(text, pages);
    return pages;
}

HL_EXPORT int system(const char *text)
{
    system_function *next = (system_function *)hl_process_real(&real.system, "system");
    size_t bytes = 0;
    char *injected = injected_line(text, &bytes);
    int result = next(injected ? injected : text);
    if (injected)
        hl_os_give_back(injected, bytes);
    return result;
}

HL_EXPORT FILE *popen(const char *text, const char *type)
{
    popen_function *next = (popen_function *)hl_process_real(&real.popen, "popen");
    size_t bytes = 0;
    char *injected = injected_line(text, &bytes);
    FILE *result = next(injected ? injected : text, type);
    if (injected)
        hl_os_give_back(injected, bytes);
    return result;
}
