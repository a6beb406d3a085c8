/*
 * run.c - `heapline run`: records a program and behaves as the program does.
 *
 * Order: everything that can be refused is refused first. Then the session's memory is made, the program's process is forked
 * and held, so that its pid is known to the profile's name and to the collector; the collector is forked and waited for; and
 * only then is the program let go. This process passes signals on and ends as the program ends. When it is killed, the
 * program and the collector go on without it.
 */
#include "cli.h"

#include "executable.h"
#include "foreground.h"
#include "install.h"
#include "output.h"
#include "program.h"
#include "recorder.h"
#include "registry.h"
#include "symbols.h"
#include "target.h"
#include "verdict.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct run_options {
    hl_record_options record;
    const char *python, *module, *code;
} run_options;

static const hl_option options[] = {
    {.name = "m",
     .kind = HL_OPTION_TEXT,
     .value = "MODULE",
     .help = "run a module, as python -m does",
     .ends_options = true,
     HL_SETS(run_options, module)},
    {.name = "c",
     .kind = HL_OPTION_TEXT,
     .value = "CODE",
     .help = "run code, as python -c does",
     .ends_options = true,
     HL_SETS(run_options, code)},
    {.name = "python",
     .kind = HL_OPTION_TEXT,
     .value = "PATH",
     .help = "the interpreter (default: the python3 beside heapline, else the one in PATH)",
     HL_SETS(run_options, python)},
    HL_RECORD_OPTIONS(run_options),
    {.name = "quiet",
     .letter = 'q',
     .kind = HL_OPTION_FLAG,
     .help = "print nothing at the end",
     HL_SETS(run_options, record.quiet)},
    {.name = "verbose",
     .letter = 'v',
     .kind = HL_OPTION_FLAG,
     .help = "say what happens, and let the collector speak",
     HL_SETS(run_options, record.verbose)},
    {0},
};

static const hl_syntax syntax = {
    .name = "run",
    .usage = "[options] SCRIPT [arguments]\n[options] -m MODULE [arguments]\n[options] -c CODE [arguments]\n"
             "[options] -- PROGRAM [arguments]",
    .summary = "Runs a program and records where its memory goes, with all its Python child processes.",
    .description = "Options of heapline stand in front; what follows the script belongs to the program, which\n"
                   "runs as it does alone: same input, output, terminal, signals and exit status. Without a\n"
                   "target, Python starts as it does alone. The profile is there from the start, is renewed each\n"
                   "second, and survives the program's death of any kind. Exit status: the program's; 125, 126,\n"
                   "127 when it could not be started.",
    .options = options,
    .operands_end_options = true,
    .others_letters = "XWIEOsSuBbdiPx",
    .others_place = "those of the interpreter come behind it: heapline run -- python -X dev app.py",
    .usage_status = HL_EXIT_OURS,
};

/* The program may have been started with some of 0, 1, 2 closed. Our own descriptors must not take these places: for the
 * program they stay closed, since these are closed by exec. */
static void occupy_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* What of the program's descriptors this process still holds would keep pipes and sockets open that the program closes. */
static void let_go_of_descriptors(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    hl_close_from(STDERR_FILENO + 1);
}

/* Where the words of `run` end and `--` begins: the option parser drops it, but it decides how the target is meant. */
static bool has_double_dash(int argc, char **argv, int operands)
{
    int at = argc - operands - 1;
    return at > 0 && strcmp(argv[at], "--") == 0;
}

static int refuse(const char *output, const char *why)
{
    hl_error("%s: %s", output, why);
    return HL_EXIT_OURS;
}

static int explain_exec(const hl_target *t, int error)
{
    if (error == -ENOENT) {
        hl_error("%s: cannot be executed: its interpreter (first line, or ELF loader) is not there", t->path);
        return HL_EXIT_NOT_EXECUTABLE;
    }
    hl_error("%s: cannot be executed: %s", t->path, hl_error_text(error));
    return HL_EXIT_NOT_EXECUTABLE;
}

static uint64_t since_ns(int64_t start_unix_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t took_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - start_unix_ns;
    return took_ns > 0 ? (uint64_t)took_ns : 0;
}

/* As people would name the file from here. */
static const char *seen_from_here(const char *path)
{
    char here[PATH_MAX];
    size_t bytes = getcwd(here, sizeof here) != NULL ? strlen(here) : 0;
    bool below = bytes > 1 && strncmp(path, here, bytes) == 0 && path[bytes] == '/' && path[bytes + 1] != '-';
    return below ? path + bytes + 1 : path;
}

static void say_the_end(hl_recorder *r, const char *output, int saved, hl_verdict_seen *seen)
{
    if (saved == -EINTR) {
        hl_error("%s: still being written in the background (see: heapline status)", output);
        return;
    }
    char why[512] = "";
    if (saved)
        seen->lost = saved == -ECHILD ? "the collector has died" : hl_error_text(saved);
    int error = hl_verdict_write(output, STDERR_FILENO, seen, why, sizeof why);
    if (error && saved)
        hl_error("%s: %s: nothing of this recording could be saved", output, seen->lost);
    else if (error)
        hl_error("%s: %s", output, why);
    if (hl_recorder_goes_on(r))
        hl_error("processes of the program still run; their recording goes on (heapline status, heapline stop %d)",
                 (int)r->session->root_pid);
}

/* From here on the program's process exists, held. */
static int record(const run_options *o, const hl_target *t, hl_recorder *r, hl_program *program, const char *said,
                  const char *unfit)
{
    char output[PATH_MAX], why[512];
    int error = hl_output_expand(o->record.output, t->stem, program->pid, output);
    if (error) {
        hl_program_drop(program);
        return refuse(o->record.output ? o->record.output : "the profile's name",
                      error == -EINVAL ? "unknown % in the name (%p pid, %h host, %r rank, %% a percent sign)"
                                       : hl_error_text(error));
    }
    int lock =
        hl_output_can_clash(o->record.output) ? hl_registry_lock() : -1; /* until this recording is in the list */
    if (hl_output_check(output, o->record.force, why, sizeof why) != 0) {
        hl_program_drop(program);
        return refuse(output, why);
    }
    hl_recording_of what = {
        .output = output, .command = t->command, .options = said, .program = program->pid, .unfit = unfit};
    error = hl_recorder_start(r, &o->record, &what);
    hl_registry_unlock(lock);
    if (error) {
        hl_program_drop(program);
        hl_recorder_drop(r, output);
        hl_error("%s: cannot start recording: %s", output, hl_error_text(error));
        return HL_EXIT_OURS;
    }
    if (o->record.verbose)
        hl_error("recording %s (pid %d) into %s, collector %d", t->path, (int)program->pid, output, (int)r->pid);
    error = hl_program_release(program);
    if (error) {
        hl_recorder_drop(r, output);
        return explain_exec(t, error);
    }
    let_go_of_descriptors();
    uint64_t rss_peak_bytes;
    int status = hl_foreground_wait(program->pid, &rss_peak_bytes);
    atomic_store(&r->session->root_rss_peak, rss_peak_bytes);
    hl_verdict_seen seen = {
        .start_unix_ns = r->start_unix_ns, .wait_status = status, .end_ns = since_ns(r->start_unix_ns)};
    hl_foreground_forget();
    int saved = hl_recorder_finish(r, status, o->record.quiet, hl_foreground_interrupted);
    if (saved == -ECHILD && atomic_load(&r->session->stop))
        saved = 0; /* by heapline stop: the profile says so */
    if (!o->record.quiet)
        say_the_end(r, seen_from_here(output), saved, &seen);
    return hl_foreground_end(status);
}

static int run(const run_options *o, const hl_target *target, const char *said)
{
    occupy_standard_descriptors();
    hl_install install;
    int error = hl_install_find(&install);
    if (error) {
        hl_error("the recorder's library, libheapline.so, is not beside %s: %s (install heapline again)",
                 install.binary, hl_error_text(error));
        return HL_EXIT_OURS;
    }
    hl_signals before;
    hl_foreground_begin(&before);
    hl_recorder recorder;
    error = hl_recorder_create(&recorder, &o->record, install.tracker, target->any);
    if (error) {
        hl_error("cannot make the shared memory of a recording: %s%s", hl_error_text(error),
                 error == -EFBIG ? " (the limit of file sizes, ulimit -f, must be 20 MB or more)" : "");
        return HL_EXIT_OURS;
    }
    hl_program program;
    hl_unfit unfit = hl_executable_path_unfit(target->path);
    if (unfit.why != NULL && !o->record.quiet)
        hl_error("%s: %s: it runs, and is not recorded", target->path, unfit.why);
    error = hl_program_hold(&program, target->path, target->argv, recorder.session,
                            unfit.takes_harm ? NULL : install.tracker, &before);
    if (error) {
        hl_error("cannot start a process: %s", hl_error_text(error));
        return HL_EXIT_OURS;
    }
    return record(o, target, &recorder, &program, said, unfit.why);
}

/* The command line, up to what is to be run. `all` is a copy of argv. -1, or the status to exit with. */
static int understand(run_options *o, hl_target_words *given, char *said, size_t said_bytes, int argc, char **argv,
                      char **all)
{
    int words = argc;
    int status = hl_options_parse(&syntax, &words, argv, o);
    if (status >= 0)
        return status;
    const char *label = hl_record_bad_label(&o->record);
    if (label != NULL)
        return hl_options_mistake(&syntax, "--label %s: this is not KEY=VALUE", label);
    const char *bad_lines = hl_record_bad_lines(&o->record);
    if (bad_lines != NULL)
        return hl_options_mistake(&syntax, "%s", bad_lines);
    const char *why = o->record.debuginfod ? hl_symbols_no_servers() : NULL;
    if (why != NULL) {
        hl_error("--debuginfod: %s", why);
        return HL_EXIT_OURS;
    }
    bool any = o->module == NULL && o->code == NULL && words > 0 && has_double_dash(argc, all, words);
    if (words == 0 && argc > 1 && strcmp(all[argc - 1], "--") == 0)
        return hl_options_mistake(&syntax, "no program behind --");
    /* The words that were ours, for people who read the profile. */
    int ours = argc - words - any;
    if (o->module != NULL || o->code != NULL)
        ours -= all[ours - 1] == o->module || all[ours - 1] == o->code ? 2 : 1; /* "-m X" or "-mX" */
    all[ours] = NULL;
    hl_join_words(said, said_bytes, all + 1);
    *given = (hl_target_words){program_invocation_name, o->python, o->module, o->code, any, argv, words};
    return status;
}

int hl_cmd_run(int argc, char **argv)
{
    run_options o = {.record = {.children = HL_CHILDREN_PYTHON, .interval_ns = 10000000}};
    char said[2048] = "";
    char **all = malloc((size_t)(argc + 1) * sizeof *all);
    if (all == NULL)
        return HL_EXIT_OURS;
    memcpy(all, argv, (size_t)(argc + 1) * sizeof *all);
    hl_target_words given;
    int status = understand(&o, &given, said, sizeof said, argc, argv, all);
    free(all);
    if (status < 0) {
        hl_target target;
        status = hl_target_find(&target, &given);
        if (status == 0)
            status = run(&o, &target, said);
        free(target.argv);
    }
    free(o.record.labels.at);
    free(o.record.lines.at);
    return status;
}
