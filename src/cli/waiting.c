/* waiting.c - see waiting.h. */
#include "cli.h"

#include "number.h"
#include "waiting.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { SECOND_NS = 1000000000, LINE_MOST = 200 };

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

hl_wait hl_wait_begin(hl_session *session, bool quiet)
{
    return (hl_wait){.session = session, .began_ns = monotonic_ns(), .quiet = quiet};
}

/* Columns for a line that is to be written over; 0: stderr is no terminal, or it is somebody else's at the moment. */
static int columns(void)
{
    struct winsize size;
    if (!isatty(STDERR_FILENO) || tcgetpgrp(STDERR_FILENO) != getpgrp())
        return 0;
    int given = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
    return given <= 0 ? 79 : given < LINE_MOST ? given - 1 : LINE_MOST - 1;
}

/* Over what is there. No escape sequences: any terminal can do that. */
static void put(hl_wait *w, const char *text)
{
    char line[LINE_MOST + 4];
    int n = snprintf(line, sizeof line, "\r%-*.*s%s", w->width, w->width, text, *text ? "" : "\r");
    (void)!write(STDERR_FILENO, line, (size_t)n);
}

static void take_away(hl_wait *w)
{
    if (w->width)
        put(w, "");
    w->width = 0;
}

static void name_of_object(const hl_session *s, char name[sizeof s->names_object + 1])
{
    for (size_t i = 0; i < sizeof s->names_object / 8; i++) {
        uint64_t word = atomic_load_explicit(&s->names_object[i], memory_order_relaxed);
        memcpy(name + 8 * i, &word, 8);
    }
    name[sizeof s->names_object] = '\0';
    for (char *at = name; *at; at++) /* it comes from the program */
        if (*at < ' ' || *at > '~')
            *at = '?';
}

static void show_names(hl_wait *w, uint64_t now_ns)
{
    char line[LINE_MOST + 1], done[HL_NUMBER_BYTES], all[HL_NUMBER_BYTES], object[sizeof w->session->names_object + 1];
    hl_count_text(done, atomic_load(&w->session->names_done));
    hl_count_text(all, atomic_load(&w->session->names_all));
    name_of_object(w->session, object);
    snprintf(line, sizeof line, "heapline: names of native frames: %s of %s, %d s (^C keeps these), now %s", done, all,
             (int)((now_ns - w->began_ns) / SECOND_NS), object);
    put(w, line);
}

void hl_wait_show(hl_wait *w)
{
    uint64_t now_ns = monotonic_ns(), waited_ns = now_ns - w->began_ns;
    bool names = atomic_load(&w->session->names_all) && !w->is_stopping;
    if (w->quiet || waited_ns < SECOND_NS || now_ns - w->shown_ns < SECOND_NS / 10)
        return;
    w->shown_ns = now_ns;
    if (names && !w->width)
        w->width = columns();
    if (names && w->width) {
        show_names(w, now_ns);
        return;
    }
    if (w->told || waited_ns < 2 * (uint64_t)SECOND_NS)
        return;
    w->told = true;
    if (names)
        hl_error("the program has ended, names of native frames are being looked up (^C keeps those that are found)");
    else
        hl_error("the program has ended, the profile is being written (^C leaves that to the background)");
}

bool hl_wait_stop_names(hl_wait *w)
{
    if (w->is_stopping || !atomic_load(&w->session->names_all))
        return false;
    w->is_stopping = true;
    atomic_store(&w->session->names_stop, 1);
    take_away(w);
    if (!w->quiet)
        hl_error("the search for names of native frames has been ended; what was found is kept");
    return true;
}

void hl_wait_end(hl_wait *w) { take_away(w); }
