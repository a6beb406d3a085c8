/*
 * worker.c - the symbol worker: a forked child of the collector that reads ELF and DWARF for it.
 *
 * It inherits a copy of the collector's memory and uses none of it. Files are closed, and their memory given back, after
 * each request.
 */
#include "isolate_wire.h"
#include "object.h"
#include "symbol_table.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

enum {
    /* Private memory, which files mapped to read them are not. Compressed debug information needs as much as it is. */
    DATA_MOST_BYTES = 1 << 30,
    PROCESSOR_MOST_S = 120, /* a request */
    PIECE_PLACES = 256,
    PIECE_MS = 100,
};

typedef struct answer {
    int fd;
    hl_symbol_table piece;
    int64_t sent_ms;
} answer;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void send_all(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            _exit(0); /* the collector has gone */
        at += sent;
        n -= (size_t)sent;
    }
}

static void receive_all(int fd, void *to, size_t n)
{
    char *at = to;
    while (n) {
        ssize_t got = recv(fd, at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            _exit(0);
        at += got;
        n -= (size_t)got;
    }
}

static void send_piece(answer *a, bool is_last)
{
    size_t bytes = 0;
    uint8_t *piece = hl_symbol_table_write(&a->piece, "", &bytes);
    if (!piece || bytes > HL_ISOLATE_PIECE_MOST)
        _exit(1);
    hl_isolate_reply head = {.bytes = (uint32_t)bytes, .is_last = is_last};
    send_all(a->fd, &head, sizeof head);
    send_all(a->fd, piece, bytes);
    free(piece);
    hl_symbol_table_free(&a->piece);
    a->sent_ms = now_ms();
}

static void show_life(void *context)
{
    answer *a = context;
    if (now_ms() - a->sent_ms >= PIECE_MS)
        send_piece(a, false);
}

static void take(void *context, uint32_t offset, const hl_native_frame *frames, size_t n)
{
    answer *a = context;
    if (hl_symbol_table_add(&a->piece, offset, frames, n))
        _exit(1);
    if (a->piece.places_used >= PIECE_PLACES)
        send_piece(a, false);
    else
        show_life(a);
}

static void limit(int resource, rlim_t most)
{
    struct rlimit l;
    if (getrlimit(resource, &l))
        return;
    if (l.rlim_max != RLIM_INFINITY && most > l.rlim_max)
        most = l.rlim_max;
    l.rlim_cur = most;
    setrlimit(resource, &l);
}

static void serve(int fd)
{
    hl_isolate_request head;
    receive_all(fd, &head, sizeof head);
    if (head.path_bytes > HL_ISOLATE_STRING_MOST || head.id_bytes > HL_ISOLATE_STRING_MOST ||
        head.folder_bytes > HL_ISOLATE_STRING_MOST || head.offsets > HL_ISOLATE_OFFSETS_MOST)
        _exit(1);
    char *path = malloc(head.path_bytes + 1), *id = malloc(head.id_bytes + 1), *folder = malloc(head.folder_bytes + 1);
    uint32_t *offsets = malloc(((size_t)head.offsets + 1) * sizeof *offsets);
    if (!path || !id || !folder || !offsets)
        _exit(1);
    receive_all(fd, path, head.path_bytes);
    receive_all(fd, id, head.id_bytes);
    receive_all(fd, folder, head.folder_bytes);
    receive_all(fd, offsets, head.offsets * sizeof *offsets);
    path[head.path_bytes] = id[head.id_bytes] = folder[head.folder_bytes] = '\0';

    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    limit(RLIMIT_CPU, (rlim_t)used.tv_sec + PROCESSOR_MOST_S);
    answer a = {.fd = fd, .sent_ms = now_ms()};
    hl_resolve_request request = {.path = path,
                                  .build_id = id,
                                  .debug_directory = folder,
                                  .began_s = head.began_s,
                                  .flags = head.flags,
                                  .offsets = offsets,
                                  .n = head.offsets,
                                  .alive = show_life,
                                  .found = take,
                                  .context = &a};
    a.piece.flags |= hl_resolve(&request);
    send_piece(&a, true);
    free(path);
    free(id);
    free(folder);
    free(offsets);
    malloc_trim(0);
}

/* Nothing of the collector's but the socket; no terminal, no core file. The socket's end says that the collector has gone
 * (PR_SET_PDEATHSIG would take the end of the thread that forked for it). */
static void settle(int fd)
{
    static const int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGTSTP, SIGPIPE, SIGUSR1, SIGUSR2};
    static const int usual[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGXCPU, SIGALRM};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL); /* the thread that forked may have blocked what ends a worker */
    prctl(PR_SET_NAME, "heapline-names");
    prctl(PR_SET_DUMPABLE, 0);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        signal(usual[i], SIG_DFL);
    int null = open("/dev/null", O_RDWR);
    for (int to = 0; null >= 0 && to < (IS_SANITIZED ? 2 : 3); to++) {
        if (to != fd)
            dup2(null, to);
    }
#ifdef SYS_close_range
    if (fd > 3)
        syscall(SYS_close_range, 3, fd - 1, 0);
    syscall(SYS_close_range, fd + 1 < 3 ? 3 : fd + 1, ~0u, 0);
#endif
    limit(RLIMIT_CORE, 0);
    if (!IS_SANITIZED)
        limit(RLIMIT_DATA, DATA_MOST_BYTES);
}

_Noreturn void hl_isolate_work(int fd)
{
    settle(fd);
    for (;;)
        serve(fd);
}
