/*
 * status.c - `heapline status`: which recordings of this user are running.
 */
#include "cli.h"

#include "json.h"
#include "number.h"
#include "registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct status_options {
    bool json, wait;
} status_options;

static const hl_option options[] = {
    {.name = "json", .kind = HL_OPTION_FLAG, .help = "machine-readable", HL_SETS(status_options, json)},
    {.name = "wait",
     .kind = HL_OPTION_FLAG,
     .help = "say nothing, and return when the recordings named, or all that run now, have ended",
     HL_SETS(status_options, wait)},
    {0},
};

static const hl_syntax syntax = {
    .name = "status",
    .usage = "[--json]\n--wait [PROFILE | PID ..]",
    .summary = "Lists the recordings of this user that are running, or waits for their end.",
    .description = "With --wait a recording is named by its profile, or by the pid of any process in it. When it\n"
                   "returns, the profile is complete.",
    .options = options,
};

typedef struct listing {
    hl_out *out;
    hl_json *json; /* null: text */
    unsigned count;
} listing;

static unsigned processes_of(hl_session *s)
{
    unsigned n = 0;
    uint32_t used = atomic_load(&s->processes_used);
    for (uint32_t i = 0; i < used && i < HL_MAX_PROCESSES; i++)
        n += atomic_load(&hl_session_process(s, i)->state) == HL_PROCESS_RUNNING;
    return n;
}

static int list(const hl_recorded *r, hl_session *s, void *context)
{
    listing *l = context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t elapsed_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - r->start_unix_ns;
    uint64_t time_ns = elapsed_ns > 0 ? (uint64_t)elapsed_ns : 0;
    unsigned processes = processes_of(s);
    l->count++;
    if (l->json != NULL) {
        hl_json_object(l->json, NULL);
        hl_json_int(l->json, "pid", r->program);
        hl_json_text(l->json, "command", r->command);
        hl_json_text(l->json, "output", r->output);
        hl_json_seconds(l->json, "duration_s", time_ns);
        hl_json_int(l->json, "processes", processes);
        hl_json_int(l->json, "collector", r->collector);
        hl_json_end(l->json);
        return 0;
    }
    char time_text[HL_NUMBER_BYTES];
    hl_outf(l->out, "%d ", (int)r->program);
    hl_out_clean(l->out, r->command, strlen(r->command));
    hl_outf(l->out, "\n  recorded for %s, %u process%s\n  into ", hl_time_text(time_text, time_ns), processes,
            processes == 1 ? "" : "es");
    hl_out_clean(l->out, r->output, strlen(r->output));
    hl_out_put(l->out, "\n");
    return 0;
}

/* ---------------------------------------------------------------------------------------------------------- waiting */

typedef struct awaited {
    hl_recording_name *name; /* of those meant */
    int names;               /* 0: all */
    struct {
        pid_t collector;
        int64_t start_unix_ns;
    } * at;
    size_t n;
    bool failed;
} awaited;

static int await(const hl_recorded *r, hl_session *s, void *context)
{
    awaited *a = context;
    bool meant = a->names == 0;
    for (int i = 0; i < a->names && !meant; i++)
        meant = hl_recording_is(r, s, &a->name[i]);
    if (!meant)
        return 0;
    void *grown = realloc(a->at, (a->n + 1) * sizeof *a->at);
    if (grown == NULL) {
        a->failed = true;
        return 1;
    }
    a->at = grown;
    a->at[a->n].collector = r->collector;
    a->at[a->n++].start_unix_ns = r->start_unix_ns;
    return 0;
}

static int is_awaited(const hl_recorded *r, hl_session *s, void *context)
{
    const awaited *a = context;
    (void)s;
    for (size_t i = 0; i < a->n; i++)
        if (a->at[i].collector == r->collector && a->at[i].start_unix_ns == r->start_unix_ns)
            return 1;
    return 0;
}

/* A name of no running recording is that of one that has ended, unless it is of a file that is not there. */
static int wait_for(char **words, int n)
{
    enum { STEP_MS = 20 };
    awaited a = {.name = calloc((size_t)n + 1, sizeof *a.name), .names = n};
    int status = HL_EXIT_OK;
    for (int i = 0; i < n && a.name != NULL; i++)
        a.name[i] = hl_recording_named(words[i]);
    a.failed = a.name == NULL;
    if (!a.failed)
        hl_registry_each(await, &a);
    while (!a.failed && a.n > 0 && hl_registry_each(is_awaited, &a) != 0)
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
    for (int i = 0; i < n && !a.failed; i++) {
        if (a.name[i].pid == 0 && access(words[i], F_OK) != 0) {
            hl_error("%s: %s, and no running recording writes it", words[i], hl_error_text(errno));
            status = HL_EXIT_CHECK_FAILED;
        }
    }
    if (a.failed) {
        hl_error("cannot wait: %s", hl_error_text(ENOMEM));
        status = HL_EXIT_USAGE;
    }
    free(a.name);
    free(a.at);
    return status;
}

int hl_cmd_status(int argc, char **argv)
{
    status_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (o.wait && o.json)
        return hl_options_mistake(&syntax, "--wait prints nothing, so there is no JSON of it");
    if (o.wait)
        return wait_for(argv, argc);
    if (argc > 0)
        return hl_options_mistake(&syntax, "%s: takes no operand without --wait", argv[0]);
    hl_out out;
    hl_out_begin(&out, hl_terminal_of(STDOUT_FILENO, HL_COLOUR_AUTO));
    hl_json json = hl_json_begin(&out);
    if (o.json) {
        hl_json_object(&json, NULL);
        hl_json_text(&json, "schema", "heapline.status/1");
        hl_json_array(&json, "recordings");
    }
    listing l = {.out = &out, .json = o.json ? &json : NULL};
    hl_registry_each(list, &l);
    if (o.json) {
        hl_json_end(&json);
        hl_json_end(&json);
    } else if (l.count == 0)
        hl_error("no recording of yours is running");
    int error = hl_out_write(&out, STDOUT_FILENO);
    hl_out_release(&out);
    if (error == 0 || error == -EPIPE)
        return HL_EXIT_OK;
    hl_error("cannot write: %s", hl_error_text(error));
    return HL_EXIT_USAGE;
}
