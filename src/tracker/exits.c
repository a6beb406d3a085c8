/*
 * exits.c - how the process ends, as far as it says so itself: exit, return from main, _exit, _Exit, quick_exit; and what
 * its resident memory was at most.
 *
 * A death by signal is the collector's to find out. A vfork child shares our memory, and its _exit is not ours.
 */
#include "lines.h"
#include "tracker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

uint64_t hl_resident_peak(void)
{
    struct rusage use = {0};
    hl_os_call(SYS_getrusage, RUSAGE_SELF, (long)&use, 0, 0, 0, 0);
    return (uint64_t)use.ru_maxrss * 1024;
}

/* The highest of this image alone. What getrusage says is that only once it has gone beyond what was before it. */
static uint64_t image_peak(uint64_t before_bytes)
{
    uint64_t highest = hl_resident_peak(), kib = 0;
    if (highest > before_bytes)
        return highest;
    char text[2048];
    text[hl_read_file("/proc/self/status", text, sizeof text - 1)] = '\0';
    const char *at = strstr(text, "\nVmHWM:");
    for (at = at ? at + strlen("\nVmHWM:") : ""; *at == ' ' || *at == '\t'; at++) {}
    for (; *at >= '0' && *at <= '9'; at++)
        kib = kib * 10 + (uint64_t)(*at - '0');
    return kib * 1024;
}

static void exit_seen(int status)
{
    hl_wire_process *p = hl_tracker.process;
    if (!p || !hl_tracker_is_own_process())
        return;
    hl_lines_exit();
    if (!atomic_load_explicit(&hl_tracker.confined, memory_order_relaxed))
        atomic_store(&p->rss_peak, image_peak(p->rss_before));
    atomic_store(&p->exit_status, status & 0xff);
    uint32_t running = HL_PROCESS_RUNNING;
    atomic_compare_exchange_strong(&p->state, &running, HL_PROCESS_EXITED);
}

static void at_exit(int status, void *unused) { exit_seen(status); }

/* Registered before main, so it runs after the program's own handlers and the destructors of its libraries. */
void hl_watch_exit(void) { on_exit(at_exit, NULL); }

HL_EXPORT _Noreturn void _exit(int status)
{
    exit_seen(status);
    for (;;)
        hl_os_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

HL_EXPORT _Noreturn void _Exit(int status) { _exit(status); }

HL_EXPORT _Noreturn void quick_exit(int status)
{
    exit_seen(status);
    if (hl_tracker.real.quick_exit)
        hl_tracker.real.quick_exit(status);
    _exit(status);
}
