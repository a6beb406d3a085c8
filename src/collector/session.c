/* session.c - makes the memory that the program and the collector share. */
#include "collector.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEFAULT_POOL_BYTES = 4 << 20, FEWEST_CHUNKS = 8 };

int hl_session_create(hl_session **session, int *fd, const hl_session_options *options)
{
    uint32_t pool_bytes = options->pool_bytes ? options->pool_bytes : DEFAULT_POOL_BYTES;
    uint32_t chunks = pool_bytes / HL_CHUNK_BYTES;
    if (chunks < FEWEST_CHUNKS)
        chunks = FEWEST_CHUNKS;
    size_t preload_bytes = options->preload ? strlen(options->preload) : 0;
    if (preload_bytes >= sizeof((hl_session *)0)->preload)
        return -ENAMETOOLONG;

    uint64_t bytes = hl_session_bytes(chunks);
    *fd = (int)syscall(SYS_memfd_create, "heapline", MFD_CLOEXEC | MFD_ALLOW_SEALING); /* glibc: since 2.27 */
    if (*fd < 0)
        return -errno;
    int error;
    if (ftruncate(*fd, (off_t)bytes) || fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        error = -errno;
        goto close_fd;
    }
    hl_session *s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    if (s == MAP_FAILED) {
        error = -errno;
        goto close_fd;
    }

    s->version = HL_WIRE_VERSION;
    s->chunks = chunks;
    s->bytes = bytes;
    s->python_objects = options->python_objects;
    s->native = (uint8_t)options->native;
    s->children = (uint8_t)options->children;
    s->marks = options->marks;
    s->wake_at = chunks / 2;
    struct stat pid_namespace;
    if (stat("/proc/self/ns/pid", &pid_namespace) == 0)
        s->pid_namespace = pid_namespace.st_ino;
    if (preload_bytes)
        memcpy(s->preload, options->preload, preload_bytes);
    for (uint32_t i = 0; i < chunks; i++) {
        hl_wire_chunk *chunk = hl_session_chunk(s, i);
        chunk->index = i;
        atomic_init(&chunk->next, i + 1 < chunks ? i + 2 : 0);
    }
    atomic_init(&s->pool, 1);
    *session = s; /* the magic is the collector's to store, once it can be found */
    return 0;

close_fd:
    close(*fd);
    *fd = -1;
    return error;
}
