/*
 * mprof_run.c - `heapline mprof run` and `attach`: samples the memory of a process, from outside, into a .dat file.
 *
 * The program is our child, in our process group; signals that were sent to us alone are passed on. A Python script is run
 * by a Python that first reads compat/memory_profiler, which is part of this binary, from a descriptor: it gives the
 * script `profile`, runs it as `__main__` and appends a FUNC line for each call to the same file at its end.
 */
#include "cli.h"

#include "foreground.h"
#include "install.h"
#include "mprof.h"
#include "mprof_verbs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct run_options {
    bool python, no_python, include_children, multiprocess, exit_code, attach;
    uint64_t interval_ns, timeout_ns; /* timeout 0: none */
    const char *output;
    unsigned backend;
} run_options;

enum { BACKEND_PSUTIL, BACKEND_PSS, BACKEND_USS, BACKEND_POSIX, BACKEND_TRACEMALLOC };
static const char *const backends[] = {"psutil", "psutil_pss", "psutil_uss", "posix", "tracemalloc", NULL};

#define COMMON_OPTIONS                                                                                                 \
    {.name = "interval",                                                                                               \
     .letter = 'T',                                                                                                    \
     .kind = HL_OPTION_DURATION,                                                                                       \
     .value = "SECONDS",                                                                                               \
     .least = 1000000,                                                                                                 \
     .most = UINT64_C(86400000000000),                                                                                 \
     .help = "time between samples (default 0.1); 10ms and the like are understood too",                               \
     HL_SETS(run_options, interval_ns)},                                                                               \
        {.name = "include-children",                                                                                   \
         .letter = 'C',                                                                                                \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "add the memory of all descendants to that of the process",                                           \
         HL_SETS(run_options, include_children)},                                                                      \
        {.name = "multiprocess",                                                                                       \
         .letter = 'M',                                                                                                \
         .kind = HL_OPTION_FLAG,                                                                                       \
         .help = "a series of its own for each descendant (no function marks)",                                        \
         HL_SETS(run_options, multiprocess)},                                                                          \
        {.name = "timeout",                                                                                            \
         .letter = 't',                                                                                                \
         .kind = HL_OPTION_DURATION,                                                                                   \
         .value = "SECONDS",                                                                                           \
         .help = "stop sampling after this time; the program goes on (default: when it ends)",                         \
         HL_SETS(run_options, timeout_ns)},                                                                            \
        {.name = "output",                                                                                             \
         .letter = 'o',                                                                                                \
         .kind = HL_OPTION_TEXT,                                                                                       \
         .value = "FILE",                                                                                              \
         .help = "append to FILE (default: mprofile_<YYYYMMDDhhmmss>.dat here)",                                       \
         HL_SETS(run_options, output)},                                                                                \
    {                                                                                                                  \
        .name = "backend", .kind = HL_OPTION_CHOICE, .choices = backends,                                              \
        .help = "psutil and posix: resident memory; psutil_pss: shared pages in parts; psutil_uss: without shared "    \
                "pages; all read from /proc (psutil is not needed)",                                                   \
        HL_SETS(run_options, backend)                                                                                  \
    }

static const hl_option run_table[] = {
    {.name = "python",
     .kind = HL_OPTION_FLAG,
     .help =
         "the words are [python ..] SCRIPT|MODULE ..: run it with function marks; implied by a word that ends in .py",
     HL_SETS(run_options, python)},
    {.name = "nopython",
     .kind = HL_OPTION_FLAG,
     .help = "run a .py file as any other program",
     HL_SETS(run_options, no_python)},
    COMMON_OPTIONS,
    {.name = "exit-code",
     .letter = 'E',
     .kind = HL_OPTION_FLAG,
     .help = "end as the program ends, also by a signal (default: exit status 0)",
     HL_SETS(run_options, exit_code)},
    {.name = "attach",
     .letter = 'a',
     .kind = HL_OPTION_FLAG,
     .help = "sample a running process, see: heapline mprof attach --help",
     HL_SETS(run_options, attach)},
    {0},
};

static const hl_option attach_table[] = {COMMON_OPTIONS, {0}};

static const hl_syntax run_syntax = {
    .name = "mprof run",
    .usage = "[options] PROGRAM [ARGUMENT ..]\n[options] SCRIPT.py [ARGUMENT ..]\n--python [options] [PYTHON] "
             "SCRIPT|MODULE ..",
    .summary = "Runs a program and samples its resident memory into a .dat file.",
    .description = "Scripts find `profile`, as builtin and in the module memory_profiler: each call of a function\n"
                   "decorated with it, and each `with profile.timestamp(\"name\"):`, becomes a mark in the file.",
    .options = run_table,
    .operands_end_options = true,
};

static const hl_syntax attach_syntax = {
    .name = "mprof attach",
    .usage = "[options] PID|NAME",
    .summary = "Samples the resident memory of a running process until it ends, --timeout, or ^C.",
    .description = "NAME is a part of the name of the process; the first by pid is taken.",
    .options = attach_table,
    .operands_end_options = true,
};

/* --------------------------------------------------------------------------------------------------------- sampling */

typedef struct sampled {
    const run_options *o;
    pid_t pid;
    int fd; /* of the .dat file, for appending; -1 after an error */
    const char *output;
    bool told, failed;
} sampled;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One write, so that lines of several processes do not mix. */
static void append(sampled *s, const char *text, size_t bytes)
{
    while (s->fd >= 0 && bytes > 0) {
        ssize_t n = write(s->fd, text, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            hl_error("mprof: %s: cannot write: %s (the program goes on, nothing more is sampled)", s->output,
                     hl_error_text(errno));
            close(s->fd);
            s->fd = -1;
            s->failed = true;
            return;
        }
        text += n;
        bytes -= (size_t)n;
    }
}

static hl_measure measure_of(const run_options *o)
{
    return o->backend == BACKEND_PSS ? HL_MEASURE_PSS : o->backend == BACKEND_USS ? HL_MEASURE_USS : HL_MEASURE_RSS;
}

/* False: the process has no memory any more. */
static bool take_sample(sampled *s)
{
    enum { MIB = 1 << 20 };
    const run_options *o = s->o;
    uint64_t own, bytes;
    int error = hl_memory_of(s->pid, measure_of(o), &own);
    if (error == -ESRCH)
        return false;
    if (error) {
        if (!s->told)
            hl_error("mprof: the memory of process %d cannot be read: %s", (int)s->pid, hl_error_text(error));
        s->told = s->failed = true;
        return true;
    }
    hl_out children;
    hl_out_begin(&children, (hl_terminal){0});
    uint64_t sum = own;
    pid_t *pids = NULL;
    int n = o->include_children || o->multiprocess ? hl_descendants_of(s->pid, &pids) : 0;
    for (int i = 0; i < n; i++) {
        if (hl_memory_of(pids[i], measure_of(o), &bytes) != 0)
            continue; /* it has just ended */
        sum += bytes;
        if (o->multiprocess)
            hl_outf(&children, "CHLD %d %.6f %.4f\n", (int)pids[i], (double)bytes / MIB, now_s());
    }
    free(pids);
    hl_out all;
    hl_out_begin(&all, (hl_terminal){0});
    hl_outf(&all, "MEM %.6f %.4f\n", (double)(o->include_children ? sum : own) / MIB, now_s());
    hl_out_add(&all, children.at, children.bytes);
    append(s, all.at, all.bytes);
    hl_out_release(&children);
    hl_out_release(&all);
    return true;
}

/* The signals that tell us something; blocked while we sample. */
static void awaited_signals(sigset_t *set)
{
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaddset(set, numbers[i]);
}

static int64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef enum waited { WAITED_TICK, WAITED_ENDED, WAITED_INTERRUPTED } waited;

/* Until `until_ns` (-1: for ever), the end of our program, or, when we are attached, a signal. */
static waited wait_until(const sampled *s, bool is_child, int64_t until_ns, int *wait_status)
{
    sigset_t set;
    awaited_signals(&set);
    for (;;) {
        pid_t ended = is_child ? waitpid(s->pid, wait_status, WNOHANG) : 0;
        if (ended != 0)
            return WAITED_ENDED;
        int64_t left_ns = until_ns < 0 ? INT64_C(3600000000000) : until_ns - monotonic_ns();
        if (left_ns <= 0)
            return WAITED_TICK;
        siginfo_t got;
        struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
        if (sigtimedwait(&set, &got, &left) < 0 || got.si_signo == SIGCHLD)
            continue;
        if (!is_child)
            return WAITED_INTERRUPTED;
        if (got.si_code <= 0 && got.si_pid != s->pid) /* by kill; a terminal's go to the whole group */
            kill(s->pid, got.si_signo);
    }
}

/* Samples to the end. False: the time was over before. */
static bool sample(sampled *s, bool is_child, int *wait_status)
{
    const run_options *o = s->o;
    int64_t begin_ns = monotonic_ns(), next_ns = begin_ns;
    int64_t end_ns = o->timeout_ns ? begin_ns + (int64_t)o->timeout_ns : INT64_MAX;
    for (;;) {
        bool there = take_sample(s);
        if (!there && !is_child)
            return true;
        next_ns += (int64_t)o->interval_ns;
        int64_t now = monotonic_ns();
        if (next_ns < now) /* one sample takes longer than the interval */
            next_ns = now;
        waited w = wait_until(s, is_child, next_ns < end_ns ? next_ns : end_ns, wait_status);
        if (w != WAITED_TICK)
            return w == WAITED_ENDED;
        if (monotonic_ns() >= end_ns)
            return false;
    }
}

/* ------------------------------------------------------------------------------------------------------------ files */

/* The file, open for appending. A name of our own is one that was not there. */
static int open_output(const char *wanted, char name[PATH_MAX], char whole[PATH_MAX])
{
    int fd = -1;
    if (wanted != NULL) {
        snprintf(name, PATH_MAX, "%s", wanted);
        fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    } else {
        time_t now = time(NULL);
        for (int tries = 0; fd < 0 && tries < 600; tries++, now++) { /* two runs in one second have two files */
            struct tm local;
            strftime(name, PATH_MAX, "mprofile_%Y%m%d%H%M%S.dat", localtime_r(&now, &local));
            fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
            if (fd < 0 && errno != EEXIST)
                break;
        }
    }
    if (fd < 0)
        hl_error("mprof: %s: cannot be written: %s", name, hl_error_text(errno));
    else if (realpath(name, whole) == NULL)
        snprintf(whole, PATH_MAX, "%s", name);
    return fd;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool ends_in_py(const char *word)
{
    size_t letters = strlen(word);
    return letters > 3 && strcmp(word + letters - 3, ".py") == 0;
}

static bool is_python(const char *word) { return strncmp(base_of(word), "python", 6) == 0 && !ends_in_py(word); }

/* ------------------------------------------------------------------------------------------------- the command line */

typedef struct command {
    char **words; /* that are executed; from malloc, the words are not */
    char *shown;  /* for CMDLINE */
    char path[PATH_MAX], python_path[PATH_MAX];
    int module_fd; /* with Python's features: the files of memory_profiler, open in the program; else -1 */
    char module_text[16];
    bool python;
} command;

/* An importer of the package memory_profiler from the descriptor: names and texts, a zero byte behind each. */
static const char bootstrap[] =
    "import sys, importlib.util\n"
    "with open(int(sys.argv[1]), 'rb') as f: parts = f.read().decode().split('\\0')\n"
    "class Files:\n"
    "    texts = dict(zip(parts[::2], parts[1::2]))\n"
    "    def file(name): return name.replace('.', '/') + ('.py' if '.' in name else '/__init__.py')\n"
    "    def find_spec(name, path=None, target=None):\n"
    "        if Files.file(name) in Files.texts:\n"
    "            return importlib.util.spec_from_loader(name, Files, is_package='.' not in name)\n"
    "    def create_module(spec): pass\n"
    "    def exec_module(module):\n"
    "        name = module.__name__\n"
    "        exec(compile(Files.texts[Files.file(name)], '<heapline.compat.%s>' % name, 'exec'), module.__dict__)\n"
    "sys.meta_path.insert(0, Files)\n"
    "import memory_profiler.command\n"
    "memory_profiler.command.main(sys.argv[2:])";

static int module_descriptor(void)
{
    int fd = (int)syscall(SYS_memfd_create, "memory_profiler", 0); /* as a function since glibc 2.27 */
    if (fd < 0)
        return -1;
    for (const hl_python_file *file = hl_python_files + 1; file->name != NULL; file++) {
        size_t name_bytes = strlen(file->name) + 1, text_bytes = strlen(file->text) + 1;
        if (write(fd, file->name, name_bytes) != (ssize_t)name_bytes ||
            write(fd, file->text, text_bytes) != (ssize_t)text_bytes) {
            close(fd);
            return -1;
        }
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Words of the Python itself in front of the script: those with a value take it along. */
static int options_of_python(char **words, int n)
{
    int i = 0;
    while (i < n && words[i][0] == '-' && words[i][1] != '\0' && strcmp(words[i], "-m") != 0 &&
           strcmp(words[i], "-c") != 0)
        i += strcmp(words[i], "-X") == 0 || strcmp(words[i], "-W") == 0 ? 2 : 1;
    return i < n ? i : n;
}

/* What is to be executed. 0, or the exit status after a message. */
static int make_command(command *c, const run_options *o, char **words, int n, const char *output)
{
    *c = (command){.module_fd = -1, .words = calloc((size_t)n + 16, sizeof *c->words), .shown = malloc(65536)};
    if (c->words == NULL || c->shown == NULL) {
        hl_error("%s", hl_error_text(ENOMEM));
        return HL_EXIT_OURS;
    }
    bool script = ends_in_py(words[0]) && !o->no_python;
    c->python = (o->python || script) && !o->multiprocess && !o->no_python;
    int used = 0, taken = 0;
    if (o->python || script) {
        if (is_python(words[0]))
            c->words[used++] = words[taken++];
        else if (hl_python_find(program_invocation_name, c->python_path) == 0)
            c->words[used++] = c->python_path;
        else {
            hl_error("mprof: no python3 beside heapline or in PATH (heapline mprof run --python PYTHON SCRIPT ..)");
            return HL_EXIT_NOT_FOUND;
        }
    }
    char *shown[n + 2];
    int m = 0;
    for (int i = 0; i < used; i++)
        shown[m++] = c->words[i];
    for (int i = taken; i < n; i++)
        shown[m++] = words[i];
    shown[m] = NULL;
    hl_mprof_command(c->shown, 65536, shown);
    if (c->python) {
        int front = options_of_python(words + taken, n - taken);
        for (int i = 0; i < front; i++)
            c->words[used++] = words[taken++];
        bool code = taken >= n || strcmp(words[taken], "-c") == 0;
        if (!code && (c->module_fd = module_descriptor()) < 0) {
            hl_error("mprof: cannot give memory_profiler to the program: %s", hl_error_text(errno));
            return HL_EXIT_OURS;
        }
        if (!code) {
            snprintf(c->module_text, sizeof c->module_text, "%d", c->module_fd);
            char *ours[] = {"-c",
                            (char *)bootstrap,
                            c->module_text,
                            "--timestamp",
                            "-o",
                            (char *)output,
                            "--backend",
                            (char *)backends[o->backend],
                            o->include_children ? "--include-children" : NULL};
            for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
                if (ours[i] != NULL)
                    c->words[used++] = ours[i];
            }
            c->words[used++] = "--";
        }
    }
    for (int i = taken; i < n; i++)
        c->words[used++] = words[i];
    int error = hl_executable_find(c->words[0], c->path);
    if (error == -ENOENT) {
        hl_error("mprof: %s: command not found%s", c->words[0], strchr(c->words[0], '/') == NULL ? " in PATH" : "");
        return HL_EXIT_NOT_FOUND;
    }
    if (error) {
        hl_error("mprof: %s: cannot be executed: %s", c->words[0], hl_error_text(error));
        return HL_EXIT_NOT_EXECUTABLE;
    }
    return 0;
}

static void release_command(command *c)
{
    if (c->module_fd >= 0)
        close(c->module_fd);
    free(c->words);
    free(c->shown);
}

/* Blocks what we wait for, and starts the program without that block. The pid or -errno. */
static pid_t start(const command *c)
{
    sigset_t set, before;
    awaited_signals(&set);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &set, &before);
    posix_spawnattr_t attributes;
    pid_t pid;
    int error = posix_spawnattr_init(&attributes);
    if (error)
        return -error;
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &before);
    error = posix_spawn(&pid, c->path, NULL, &attributes, c->words, environ);
    if (error == ENOEXEC) { /* a script without #!: what shells do */
        char *words[] = {"sh", (char *)c->path, NULL};
        size_t n = 0;
        while (c->words[n] != NULL)
            n++;
        char **all = calloc(n + 3, sizeof *all);
        if (all != NULL) {
            memcpy(all, words, 2 * sizeof *words);
            memcpy(all + 2, c->words + 1, (n - 1) * sizeof *all);
            error = posix_spawn(&pid, "/bin/sh", NULL, &attributes, all, environ);
            free(all);
        }
    }
    posix_spawnattr_destroy(&attributes);
    return error ? -error : pid;
}

/* 0.1, 1.0: as Python writes them. */
static void say_interval(uint64_t interval_ns)
{
    char text[64];
    snprintf(text, sizeof text, "%.9g", (double)interval_ns / 1e9);
    printf("mprof: Sampling memory every %s%ss\n", text, strpbrk(text, ".e") == NULL ? ".0" : "");
}

static void begin_file(sampled *s, const char *shown)
{
    hl_out line;
    hl_out_begin(&line, (hl_terminal){0});
    hl_outf(&line, "CMDLINE %s\n", shown);
    append(s, line.at, line.bytes);
    hl_out_release(&line);
}

/* ---------------------------------------------------------------------------------------------------------- the verbs */

static int run_program(const run_options *o, char **argv, int argc)
{
    char name[PATH_MAX], whole[PATH_MAX];
    sampled s = {.o = o, .output = name};
    command c;
    snprintf(whole, sizeof whole, "%s", "");
    /* The command first: a program that is not there leaves no file behind. */
    int status = make_command(&c, o, argv, argc, whole);
    if (status == 0 && (s.fd = open_output(o->output, name, whole)) < 0)
        status = HL_EXIT_OURS;
    if (status) {
        release_command(&c);
        return status;
    }
    say_interval(o->interval_ns);
    printf("running new process\n");
    if (c.python)
        printf("running as a Python program...\n");
    fflush(stdout);
    begin_file(&s, c.shown);
    s.pid = start(&c);
    if (s.pid < 0) {
        hl_error("mprof: %s: cannot be executed: %s", c.path, hl_error_text(s.pid));
        release_command(&c);
        close(s.fd);
        return HL_EXIT_NOT_EXECUTABLE;
    }
    release_command(&c);
    int wait_status = 0;
    bool ended = sample(&s, true, &wait_status);
    if (s.fd >= 0)
        close(s.fd);
    if (!o->exit_code)
        return s.failed ? HL_EXIT_CHECK_FAILED : HL_EXIT_OK;
    if (!ended)
        wait_until(&s, true, -1, &wait_status);
    if (wait_status != 0 && WIFEXITED(wait_status))
        hl_error("mprof: the program ended with exit status %d", WEXITSTATUS(wait_status));
    else if (wait_status != 0)
        hl_error("mprof: the program was ended by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    return hl_foreground_end(wait_status);
}

static int attach(const hl_syntax *syntax, const run_options *o, const char *hint)
{
    char shown[65536], name[PATH_MAX], whole[PATH_MAX];
    sampled s = {.o = o, .output = name};
    bool is_number = hint[0] != '\0' && hint[strspn(hint, "0123456789")] == '\0' && strlen(hint) < 10;
    s.pid = is_number ? (pid_t)atol(hint) : hl_process_named(hint);
    uint64_t bytes;
    int error = s.pid > 0 ? hl_memory_of(s.pid, measure_of(o), &bytes) : -ESRCH;
    if (error == -ESRCH || !hl_command_of(s.pid, shown, sizeof shown)) {
        hl_error("mprof: %s: there is no process with this %s", hint, is_number ? "pid" : "in its name");
        return HL_EXIT_CHECK_FAILED;
    }
    if (error) {
        hl_error("mprof: the memory of process %d cannot be read: %s", (int)s.pid, hl_error_text(error));
        return HL_EXIT_CHECK_FAILED;
    }
    if ((s.fd = open_output(o->output, name, whole)) < 0)
        return HL_EXIT_OURS;
    say_interval(o->interval_ns);
    printf("attaching to existing process, using hint: %s\n", hint);
    fflush(stdout);
    begin_file(&s, shown);
    sigset_t set;
    awaited_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int none;
    sample(&s, false, &none);
    if (s.fd >= 0)
        close(s.fd);
    return s.failed ? HL_EXIT_CHECK_FAILED : HL_EXIT_OK;
}

static int run_or_attach(const hl_syntax *syntax, int argc, char **argv, bool is_attach)
{
    run_options o = {.interval_ns = 100000000, .attach = is_attach};
    int status = hl_options_parse(syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (argc == 0)
        return hl_options_mistake(syntax, o.attach ? "which process? a pid or a part of its name must be given"
                                                   : "a program to run must be given");
    if (o.backend == BACKEND_TRACEMALLOC)
        return hl_options_mistake(syntax, "--backend tracemalloc: only the program itself can see that (heapline run "
                                          "records every object from outside)");
    if (!o.attach)
        return run_program(&o, argv, argc);
    if (argc > 1)
        return hl_options_mistake(syntax, "%s: one process at a time", argv[1]);
    if (o.exit_code)
        return hl_options_mistake(syntax, "--exit-code: the exit status of a process is told to its parent only");
    return attach(syntax, &o, argv[0]);
}

int hl_mprof_run(int argc, char **argv) { return run_or_attach(&run_syntax, argc, argv, false); }

int hl_mprof_attach(int argc, char **argv) { return run_or_attach(&attach_syntax, argc, argv, true); }
