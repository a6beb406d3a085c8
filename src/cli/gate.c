/* See gate.h. */
#include "gate.h"

#include "profile.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const hl_gate_options hl_gate_defaults = {
    .rows = UINT64_MAX,
    .most = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
};

int hl_gate_check_options(const hl_syntax *syntax, const hl_gate_options *o)
{
    if (o->json + o->markdown + o->github > 1)
        return hl_options_mistake(syntax, "--json, --markdown and --github exclude each other");
    if (o->junit && !*o->junit)
        return hl_options_mistake(syntax, "--junit: the name of a file is missing");
    return -1;
}

/* The whole of it to a file. A failure is told here; the status, or -1. */
static int write_file(const char *path, hl_out *out)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
    int error = fd < 0 ? -errno : hl_out_write(out, fd);
    if (fd >= 0 && close(fd) != 0 && !error)
        error = -errno;
    if (!error)
        return -1;
    hl_error("%s: cannot be written: %s", path, hl_error_text(error));
    return HL_EXIT_NOT_A_PROFILE;
}

/* What programs read is UTF-8 whatever the terminal shows. Without such a locale more characters are escaped. */
static void speak_utf8(void) { setlocale(LC_CTYPE, "C.UTF-8"); }

static int write_junit(hl_gate *gate, const char *path)
{
    speak_utf8();
    hl_out kept = gate->out;
    hl_out_begin(&gate->out, (hl_terminal){.width = 80, .utf8 = true});
    int error = hl_gate_junit(gate);
    gate->out.failed |= error != 0;
    int status = write_file(path, &gate->out);
    hl_out_release(&gate->out);
    gate->out = kept;
    return status;
}

static int write_outcome(hl_gate *gate, const hl_gate_options *o)
{
    static const int statuses[] = {HL_EXIT_OK, HL_EXIT_CHECK_FAILED, HL_EXIT_INCOMPLETE};
    hl_gate_writer *writer = o->json       ? hl_gate_json
                             : o->markdown ? hl_gate_markdown
                             : o->github   ? hl_gate_github
                                           : hl_gate_text;
    int error = writer(gate);
    if (!error)
        error = hl_out_write(&gate->out, STDOUT_FILENO);
    int status = statuses[gate->outcome];
    if (error && error != -EPIPE) { /* a reader that has seen enough changes nothing about the outcome */
        hl_error("cannot write the outcome: %s", hl_error_text(error));
        status = HL_EXIT_NOT_A_PROFILE;
    }
    int written = o->junit ? write_junit(gate, o->junit) : -1;
    return written < 0 ? status : written;
}

/* What could not be read: on stderr, and for those who read the XML. */
static int refuse(const hl_syntax *syntax, hl_gate *gate, const hl_gate_options *o, const char *path)
{
    hl_out out;
    hl_report_complain(path, gate->why);
    if (o->junit) {
        hl_out_begin(&out, (hl_terminal){.width = 80, .utf8 = true});
        hl_gate_junit_error(&out, syntax->name, path, gate->why);
        write_file(o->junit, &out);
        hl_out_release(&out);
    }
    return HL_EXIT_NOT_A_PROFILE;
}

static int open_side(hl_gate *gate, hl_gate_side *side, hl_profile **profile)
{
    int error = hl_profile_open(profile, side->path, gate->why, sizeof gate->why);
    if (!error)
        error = hl_model_load(&side->model, hl_profile_database(*profile), HL_FRAMES_ALL, gate->why, sizeof gate->why);
    if (!error && side->model->running)
        side->model->watched = hl_report_is_recorded(side->model);
    return error;
}

int hl_gate_command(const hl_syntax *syntax, hl_gate *gate, const hl_gate_options *o)
{
    hl_profile *profiles[2] = {NULL, NULL};
    hl_gate_side *sides[] = {&gate->old, &gate->new};
    signal(SIGPIPE, SIG_IGN); /* a pipe that closes early is told by write */
    gate->leaf = o->leaf;
    gate->sort = (hl_figure)o->sort;
    gate->rows = o->rows != UINT64_MAX ? o->rows : o->json ? 1000 : o->github ? 5 : 10;
    hl_out_begin(&gate->out, hl_terminal_of(STDOUT_FILENO, (hl_colour)o->colour));
    if (o->json || o->markdown || o->github) {
        gate->out.terminal = (hl_terminal){.width = 80, .utf8 = true};
        speak_utf8();
    }
    int error = 0, status = 0;
    for (int i = gate->is_diff ? 0 : 1; i < 2 && !error; i++) {
        error = open_side(gate, sides[i], &profiles[i]);
        if (error)
            status = refuse(syntax, gate, o, sides[i]->path);
    }
    if (!error) {
        error = hl_gate_open(gate);
        status = error ? refuse(syntax, gate, o, gate->new.path) : write_outcome(gate, o);
    }
    hl_gate_release(gate);
    for (int i = 0; i < 2; i++) {
        if (sides[i]->model)
            hl_model_release(sides[i]->model);
        hl_profile_close(profiles[i]);
    }
    hl_out_release(&gate->out);
    return status;
}
