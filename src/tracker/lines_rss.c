/*
 * lines_rss.c - resident memory at the end of an execution of a line, where that was asked for (HL_LINES_RSS).
 *
 * Read from /proc/self/statm through a descriptor that stays open: about 1 us. The program may close it, and may open a file of its
 * own at its number; a forked child's is its parent's. So it is believed only while it is the same file, in the process that opened
 * it. Runs in callbacks of the interpreter, on its threads.
 */
#include "lines_stack.h"

#include <sys/stat.h>
#include <unistd.h>

enum { LOWEST_DESCRIPTOR = 200 }; /* programs may count on small numbers for themselves */

static struct {
    _Atomic uint32_t busy;
    int32_t pid; /* of the process that opened it; 0: nobody yet */
    long fd;
    uint64_t device, inode;
    uint64_t page_bytes;
} statm;

static bool is_same_file(void)
{
    struct stat now = {0};
    return hl_os_call(SYS_newfstatat, statm.fd, (long)"", (long)&now, AT_EMPTY_PATH, 0, 0) == 0 &&
           now.st_dev == statm.device && now.st_ino == statm.inode;
}

static bool open_it(void)
{
    statm.pid = 0;
    long fd = hl_os_call(SYS_openat, AT_FDCWD, (long)"/proc/self/statm", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (fd < 0)
        return false;
    long higher = hl_os_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, LOWEST_DESCRIPTOR, 0, 0, 0);
    if (higher >= 0) {
        hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
        fd = higher;
    }
    struct stat file = {0};
    if (hl_os_call(SYS_newfstatat, fd, (long)"", (long)&file, AT_EMPTY_PATH, 0, 0)) {
        hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
        return false;
    }
    statm.fd = fd;
    statm.device = file.st_dev;
    statm.inode = file.st_ino;
    statm.page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    statm.pid = hl_tracker.pid;
    return true;
}

/* Bytes; 0: not known. The second number of the file, in pages. */
static uint64_t resident_now(void)
{
    char text[128] = "";
    if ((statm.pid != hl_tracker.pid || !is_same_file()) && !open_it())
        return 0;
    long n = hl_os_call(SYS_pread64, statm.fd, (long)text, sizeof text - 1, 0, 0, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    const char *at = text;
    uint64_t pages = 0;
    while (*at && *at != ' ')
        at++;
    while (*at == ' ')
        at++;
    for (; *at >= '0' && *at <= '9'; at++)
        pages = pages * 10 + (uint64_t)(*at - '0');
    return pages * statm.page_bytes;
}

void hl_line_look_at_memory(hl_line_stack *s)
{
    const hl_line_entry *e = &s->entries[s->depth - 1];
    uint32_t nobody = 0, me = (uint32_t)hl_tracker.pid; /* what a forked child finds locked was its parent's */
    if (atomic_load_explicit(&e->code->recording, memory_order_relaxed) != hl_tracker.live.lines ||
        atomic_load_explicit(&hl_tracker.confined, memory_order_relaxed))
        return;
    while (!atomic_compare_exchange_weak(&statm.busy, &nobody, me) && nobody == me) {
        nobody = 0;
        hl_os_yield();
    }
    uint64_t bytes = resident_now();
    atomic_store(&statm.busy, 0);
    _Atomic uint64_t *peak = &e->code->pieces[e->line / HL_LINES_A_PIECE].counters[e->line % HL_LINES_A_PIECE].rss_peak;
    uint64_t before = atomic_load_explicit(peak, memory_order_relaxed);
    while (before < bytes &&
           !atomic_compare_exchange_weak_explicit(peak, &before, bytes, memory_order_relaxed, memory_order_relaxed)) {}
}
