/*
 * waiting.h - what somebody sees who waits at the end of a run for the profile to be written.
 *
 * On a terminal, a line that says how far the names of native frames are, written over itself and taken away; elsewhere one
 * line when it takes long. Used by the foreground of a run.
 */
#ifndef HL_CLI_WAITING_H
#define HL_CLI_WAITING_H

#include "wire.h"

#include <stdbool.h>

typedef struct hl_wait {
    hl_session *session;
    uint64_t began_ns, shown_ns; /* CLOCK_MONOTONIC */
    bool quiet, told, is_stopping;
    int width; /* columns of the line on the terminal; 0: there is none */
} hl_wait;

hl_wait hl_wait_begin(hl_session *session, bool quiet);

/* Called every 20 ms or so. */
void hl_wait_show(hl_wait *wait);

/* The user wants no more names: true, once, if that is what the collector is at; the profile will be there in a moment. */
bool hl_wait_stop_names(hl_wait *wait);

void hl_wait_end(hl_wait *wait);

#endif
