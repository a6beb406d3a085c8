/*
 * stop.c - `heapline stop`: ends a recording and leaves its programs running.
 */
#include "cli.h"

#include "registry.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const hl_option options[] = {{0}};

static const hl_syntax syntax = {
    .name = "stop",
    .usage = "PROFILE | PID ..",
    .summary = "Ends recordings: the profile is finished, the programs go on without being recorded.",
    .description = "A recording is named by its profile, or by the pid of any process in it (see: heapline status).",
    .options = options,
};

enum { LIMIT_MS = 30000, STEP_MS = 10 };

typedef struct wanted {
    hl_recording_name name;
    hl_recorded found;
} wanted;

static int find_and_stop(const hl_recorded *r, hl_session *s, void *context)
{
    wanted *w = context;
    if (!hl_recording_is(r, s, &w->name))
        return 0;
    w->found = *r;
    atomic_store(&s->stop, HL_STOP_COMMAND);
    atomic_store(&s->sleeping, 0);
    syscall(SYS_futex, &s->sleeping, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    return 1;
}

static int still_there(const hl_recorded *r, hl_session *s, void *context)
{
    return r->collector == ((wanted *)context)->found.collector;
}

static int stop(const char *what)
{
    wanted w = {.name = hl_recording_named(what)};
    if (hl_registry_each(find_and_stop, &w) == 0) {
        if (w.name.pid == 0 && access(what, F_OK) != 0)
            hl_error("%s: %s (see: heapline status)", what, hl_error_text(errno));
        else
            hl_error("%s: no running recording of yours (see: heapline status)", what);
        return HL_EXIT_CHECK_FAILED;
    }
    for (int waited_ms = 0; hl_registry_each(still_there, &w) != 0; waited_ms += STEP_MS) {
        if (waited_ms >= LIMIT_MS) {
            hl_error("%s: the collector (pid %d) has not ended yet, the profile may be incomplete", w.found.output,
                     (int)w.found.collector);
            return HL_EXIT_CHECK_FAILED;
        }
        nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
    }
    printf("%s\n", w.found.output);
    return HL_EXIT_OK;
}

int hl_cmd_stop(int argc, char **argv)
{
    char none;
    int status = hl_options_parse(&syntax, &argc, argv, &none);
    if (status >= 0)
        return status;
    if (argc == 0)
        return hl_options_mistake(&syntax, "which one? name a profile or a pid (see: heapline status)");
    for (int i = 0; i < argc; i++) {
        int ended = stop(argv[i]);
        if (ended)
            status = ended;
    }
    return fflush(stdout) != 0 && errno != EPIPE ? HL_EXIT_USAGE : status > 0 ? status : HL_EXIT_OK;
}
