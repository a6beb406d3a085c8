/*
 * isolate.c - the collector's end: starts the worker, asks, reads with a time limit, ends it.
 */
#include "isolate.h"

#include "isolate_wire.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POLL_MS = 20, SEND_LIMIT_S = 10, REAP_LIMIT_MS = 1000 };

int hl_isolate_start(hl_isolate *worker)
{
    int ends[2];
    if (worker->pid > 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        int error = -errno;
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    if (pid == 0)
        hl_isolate_work(ends[1]);
    close(ends[1]);
    setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = SEND_LIMIT_S}, sizeof(struct timeval));
    *worker = (hl_isolate){pid, ends[0]};
    return 0;
}

void hl_isolate_end(hl_isolate *worker)
{
    if (worker->pid <= 0)
        return;
    close(worker->fd);
    kill(worker->pid, SIGKILL);
    /* A process that waits for a dead file server cannot be reaped yet: leave it to init rather than wait for it. */
    for (int ms = 0; ms < REAP_LIMIT_MS; ms++) {
        pid_t found = waitpid(worker->pid, NULL, WNOHANG);
        if (found == worker->pid || (found < 0 && errno != EINTR))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    *worker = (hl_isolate){0};
}

static int send_all(int fd, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -EIO;
        at += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static int send_request(int fd, const hl_resolve_request *r)
{
    hl_isolate_request head = {.flags = r->flags,
                               .began_s = r->began_s,
                               .path_bytes = (uint32_t)strlen(r->path) + 1,
                               .id_bytes = (uint32_t)strlen(r->build_id) + 1,
                               .folder_bytes = (uint32_t)strlen(r->debug_directory) + 1,
                               .offsets = (uint32_t)r->n};
    int error = send_all(fd, &head, sizeof head);
    if (!error)
        error = send_all(fd, r->path, head.path_bytes);
    if (!error)
        error = send_all(fd, r->build_id, head.id_bytes);
    if (!error)
        error = send_all(fd, r->debug_directory, head.folder_bytes);
    if (!error)
        error = send_all(fd, r->offsets, r->n * sizeof *r->offsets);
    return error;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int receive_all(int fd, void *to, size_t n, const hl_isolate_limits *limits)
{
    char *at = to;
    int64_t heard_ms = now_ms();
    while (n) {
        if (limits->stop && limits->stop(limits->context))
            return -ECANCELED;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, POLL_MS);
        if (ready < 0 && errno != EINTR)
            return -EIO;
        if (ready <= 0) {
            if (now_ms() - heard_ms > limits->silence_ms)
                return -ETIMEDOUT;
            continue;
        }
        ssize_t got = recv(fd, at, n, MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return -EIO;
        at += got;
        n -= (size_t)got;
        heard_ms = now_ms();
    }
    return 0;
}

static int receive_piece(int fd, uint32_t bytes, const hl_isolate_limits *limits, hl_symbol_table *table)
{
    uint8_t *piece = malloc(bytes ? bytes : 1);
    hl_symbol_table read = {0};
    if (!piece)
        return -ENOMEM;
    int error = receive_all(fd, piece, bytes, limits);
    if (!error)
        error = hl_symbol_table_read(&read, "", piece, bytes);
    if (!error)
        error = hl_symbol_table_merge(table, &read);
    hl_symbol_table_free(&read);
    free(piece);
    return error == -EINVAL ? -EIO : error;
}

int hl_isolate_resolve(hl_isolate *worker, const hl_resolve_request *request, const hl_isolate_limits *limits,
                       hl_symbol_table *table)
{
    if (strlen(request->path) >= HL_ISOLATE_STRING_MOST || strlen(request->build_id) >= HL_ISOLATE_STRING_MOST ||
        strlen(request->debug_directory) >= HL_ISOLATE_STRING_MOST || request->n > HL_ISOLATE_OFFSETS_MOST)
        return -EIO;
    int error = hl_isolate_start(worker);
    if (!error)
        error = send_request(worker->fd, request);
    for (bool is_whole = false; !error && !is_whole;) {
        hl_isolate_reply head;
        error = receive_all(worker->fd, &head, sizeof head, limits);
        if (!error && head.bytes > HL_ISOLATE_PIECE_MOST)
            error = -EIO;
        if (!error && head.bytes)
            error = receive_piece(worker->fd, head.bytes, limits, table);
        is_whole = !error && head.is_last;
    }
    if (error)
        hl_isolate_end(worker);
    return error;
}
