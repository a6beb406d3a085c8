/*
 * status.c - `heapline status`: which recordings of this user are running.
 */
#include "cli.h"

#include "json.h"
#include "number.h"
#include "registry.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct status_options {
    bool json;
} status_options;

static const hl_option options[] = {
    {.name = "json", .kind = HL_OPTION_FLAG, .help = "machine-readable", HL_SETS(status_options, json)},
    {0},
};

static const hl_syntax syntax = {
    .name = "status",
    .usage = "[options]",
    .summary = "Lists the recordings of this user that are running.",
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

int hl_cmd_status(int argc, char **argv)
{
    status_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (argc > 0)
        return hl_options_mistake(&syntax, "%s: takes no operand", argv[0]);
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
