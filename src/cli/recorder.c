/* recorder.c - see recorder.h. */
#include "cli.h"

#include "recorder.h"

#include "registry.h"
#include "waiting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OPEN_LIMIT_MS = 10000, PATIENCE_MS = 2000 };

void hl_close_from(int from)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, from, ~0u, 0) == 0)
        return;
#endif
    DIR *list = opendir("/proc/self/fd"); /* Linux before 5.9 */
    if (list == NULL)
        return;
    int kept = dirfd(list);
    for (struct dirent *e; (e = readdir(list)) != NULL;) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] != '.' && fd >= from && fd != kept)
            close(fd);
    }
    closedir(list);
}

int hl_recorder_create(hl_recorder *r, const hl_record_options *o, const char *tracker, bool root_any)
{
    hl_session_options options = {.python_objects = !o->malloc_only,
                                  .marks = true,
                                  .native = o->native ? HL_NATIVE_ALWAYS : HL_NATIVE_WITHOUT_PYTHON,
                                  .children = (hl_children)o->children,
                                  .preload = tracker};
    *r = (hl_recorder){0};
    int error = hl_session_create(&r->session, &r->session_fd, &options);
    if (error)
        return error;
    r->session->root_any = root_any;
    r->session->line_rss = o->line_rss;
    for (size_t i = 0, at = 0; i < o->lines.n; i++) { /* their lengths were checked */
        size_t bytes = strlen(o->lines.at[i]);
        if (at + bytes + 1 >= sizeof r->session->lines)
            break;
        if (at)
            r->session->lines[at++] = ',';
        memcpy(r->session->lines + at, o->lines.at[i], bytes);
        at += bytes;
    }
    return 0;
}

static void to_null(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, fd);
    if (null != fd)
        close(null);
}

/* key, value, key, value .. null; from malloc, never freed: the collector's process ends with it. */
static const char *const *split_labels(const hl_option_list *labels)
{
    const char **list = calloc(labels->n * 2 + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < labels->n; i++) {
        char *key = strdup(labels->at[i]);
        if (key == NULL)
            break;
        char *equals = strchr(key, '=');
        *equals = '\0';
        list[2 * i] = key;
        list[2 * i + 1] = equals + 1;
    }
    return list;
}

int hl_recorder_collect(hl_recorder *r, const hl_record_options *o, const hl_recording_of *what)
{
    setsid();
    prctl(PR_SET_NAME, "heapline");
    to_null(STDIN_FILENO);
    to_null(STDOUT_FILENO);
    if (!o->verbose)
        to_null(STDERR_FILENO);
    int fd = dup2(r->session_fd, STDERR_FILENO + 1);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    r->session_fd = fd;
    hl_close_from(fd + 1);

    char host[256] = "", here[PATH_MAX] = "";
    gethostname(host, sizeof host - 1);
    if (getcwd(here, sizeof here) == NULL)
        here[0] = '\0';
    hl_recorded recorded = {.collector = getpid(), .program = what->program, .start_unix_ns = r->start_unix_ns};
    snprintf(recorded.locator, sizeof recorded.locator, "/proc/%d/fd/%d", (int)getpid(), r->session_fd);
    snprintf(recorded.output, sizeof recorded.output, "%s", what->output);
    snprintf(recorded.command, sizeof recorded.command, "%s", what->command);
    int error = hl_registry_add(&recorded);
    if (error && o->verbose)
        hl_error("status and stop will not find this recording: %s", hl_error_text(error));

    hl_collect_options options = {
        .output = what->output,
        .tick_ns = o->interval_ns,
        .discard = o->discard,
        .unfit = what->unfit,
        .identity = {.command = what->command,
                     .directory = here,
                     .host = host,
                     .start_unix_ns = (uint64_t)r->start_unix_ns,
                     .options = what->options,
                     .labels = split_labels(&o->labels),
                     .embed_source = !o->no_source,
                     .native = o->native || r->session->root_any,
                     .debuginfod = o->debuginfod},
    };
    error = hl_collect(r->session, r->session_fd, &options);
    hl_registry_remove(getpid());
    if (error) {
        int expected = 0;
        atomic_compare_exchange_strong(&r->session->root_error, &expected, -error);
        if (o->verbose)
            hl_error("%s: %s", what->output, hl_error_text(error));
    }
    return error;
}

static bool is_open(const hl_session *session)
{
    return __atomic_load_n(&session->magic, __ATOMIC_ACQUIRE) == HL_WIRE_MAGIC;
}

/* Whether the collector has ended; it is reaped then. */
static bool has_died(hl_recorder *r)
{
    if (r->pid == 0)
        return true;
    pid_t found = waitpid(r->pid, NULL, WNOHANG);
    if (found == 0 || (found < 0 && errno == EINTR))
        return false;
    r->pid = 0;
    return true;
}

int hl_recorder_start(hl_recorder *r, const hl_record_options *o, const hl_recording_of *what)
{
    r->session->root_pid = (uint32_t)what->program;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    r->start_unix_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(hl_recorder_collect(r, o, what) ? 1 : 0);
    r->pid = pid;
    for (int waited_us = 0; !is_open(r->session); waited_us += 100) {
        int error = 0;
        if (has_died(r))
            error = -atomic_load(&r->session->root_error);
        else if (waited_us > OPEN_LIMIT_MS * 1000)
            error = -ETIMEDOUT;
        else {
            nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
            continue;
        }
        return error ? error : -ECHILD;
    }
    return 0;
}

static void wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0); }

static void wake_collector(hl_session *s)
{
    atomic_store(&s->sleeping, 0);
    wake(&s->sleeping);
}

/* Running, and not only waiting to be reaped. */
static bool is_alive(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *after_name = strrchr(text, ')');
    return after_name != NULL && after_name[1] == ' ' && after_name[2] != 'Z' && after_name[2] != 'X';
}

static bool others_run(hl_session *s)
{
    uint32_t used = atomic_load(&s->processes_used);
    for (uint32_t i = 0; i < used && i < HL_MAX_PROCESSES; i++) {
        hl_wire_process *p = hl_session_process(s, i);
        uint32_t state = atomic_load(&p->state);
        if ((state == HL_PROCESS_RUNNING || state == HL_PROCESS_JOINING) && p->pid != (int32_t)s->root_pid &&
            p->pid > 0 && atomic_load(&p->recording) != HL_RECORDING_NOTHING && is_alive(p->pid))
            return true;
    }
    return false;
}

/* The program's end has been saved. When nothing else is recorded, the collector is about to end too, and its last
 * profile is the complete one. */
static void wait_for_the_last(hl_recorder *r, int (*interrupted)(void))
{
    for (int waited_ms = 0; waited_ms < PATIENCE_MS && !has_died(r) && !others_run(r->session) && !interrupted();
         waited_ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

bool hl_recorder_goes_on(hl_recorder *r) { return others_run(r->session) && !has_died(r); }

/* 0 once the profile holds all; else as hl_recorder_finish. */
static int wait_until_saved(hl_recorder *r, hl_wait *wait, int (*interrupted)(void))
{
    hl_session *s = r->session;
    for (;;) {
        uint32_t saved = atomic_load(&s->root_saved);
        if (saved != 0)
            return saved == 1 ? 0 : -atomic_load(&s->root_error);
        if (has_died(r)) /* it may have saved just before, or was at names only */
            return atomic_load(&s->root_saved) == 1 || atomic_load(&s->names_all) ? 0 : -ECHILD;
        if (interrupted() && !hl_wait_stop_names(wait))
            return -EINTR;
        hl_wait_show(wait);
        syscall(SYS_futex, &s->root_saved, FUTEX_WAIT, 0, &(struct timespec){.tv_nsec = 20000000}, NULL, 0);
    }
}

int hl_recorder_finish(hl_recorder *r, int wait_status, bool quiet, int (*interrupted)(void))
{
    hl_session *s = r->session;
    atomic_store(&s->root_status, wait_status);
    atomic_store(&s->root_ended, 1);
    wake(&s->root_ended);
    wake_collector(s);
    hl_wait wait = hl_wait_begin(s, quiet);
    int result = wait_until_saved(r, &wait, interrupted);
    hl_wait_end(&wait);
    if (result == 0)
        wait_for_the_last(r, interrupted);
    return result;
}

void hl_recorder_drop(hl_recorder *r, const char *output)
{
    if (r->pid == 0)
        return;
    atomic_store(&r->session->stop, HL_STOP_COMMAND);
    wake_collector(r->session);
    for (int waited_ms = 0; !has_died(r); waited_ms++) {
        if (waited_ms == PATIENCE_MS)
            kill(r->pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    unlink(output);
}
