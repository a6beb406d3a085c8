/*
 * pools.c - libraries that give out memory by themselves, from a mapping that they may write from the start and that is not
 * all meant to be used (MAP_NORESERVE): mimalloc in Arrow, jemalloc in others. What they give out is never seen here, so the
 * user is told whose it is: once for each library that has taken enough that way.
 *
 * Runs in the mmap hook, below whatever locks the library holds. dladdr would wait for the loader's lock, whose holder may
 * run a constructor that waits for the library's: so the library's name comes from the kernel, which asks for neither.
 */
#include "ring.h"

#include <errno.h>
#include <string.h>

enum { MAPS_BYTES = 4608, NAME_BYTES = 120 }; /* a line of maps, with the longest path there may be, fits */

static const uint64_t LEAST_BYTES = 16 << 20;

static const char *hexadecimal(const char *at, uintptr_t *value)
{
    for (*value = 0;; at++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): the system call has filled it */
        unsigned digit = *at >= '0' && *at <= '9' ? (unsigned)(*at - '0') : (unsigned)(*at - 'a') + 10;
        if (digit > 15)
            return at;
        *value = *value << 4 | digit;
    }
}

/* "from-to perms offset dev inode   path", terminated. Whether it is the one that holds `inside`. */
static bool is_line_of(const char *line, uintptr_t inside, uintptr_t *from, uintptr_t *to, char name[NAME_BYTES])
{
    const char *at = hexadecimal(line, from);
    if (*at != '-')
        return false;
    hexadecimal(at + 1, to);
    if (inside < *from || inside >= *to)
        return false;
    const char *slash = strrchr(line, '/');
    const char *file = slash ? slash + 1 : "code that the program made itself";
    size_t n = strnlen(file, NAME_BYTES - 1);
    memcpy(name, file, n);
    name[n] = '\0';
    return true;
}

static bool find_object(uintptr_t inside, uintptr_t *from, uintptr_t *to, char name[NAME_BYTES])
{
    char text[MAPS_BYTES];
    size_t have = 0;
    bool found = false;
    long fd = hl_os_call(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    while (fd >= 0 && !found) {
        long n = hl_os_call(SYS_read, fd, (long)(text + have), (long)(sizeof text - have), 0, 0, 0);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            break;
        have += (size_t)n;
        char *line = text, *end;
        while (!found && (end = memchr(line, '\n', have - (size_t)(line - text)))) {
            *end = '\0';
            found = is_line_of(line, inside, from, to, name);
            line = end + 1;
        }
        have -= (size_t)(line - text);
        memmove(text, line, have);
    }
    if (fd >= 0)
        hl_os_call(SYS_close, fd, 0, 0, 0, 0, 0);
    return found;
}

static void tell(hl_wire_writer *w, const char *name, uint64_t bytes)
{
    char text[sizeof bytes + NAME_BYTES];
    size_t n = strlen(name);
    memcpy(text, &bytes, sizeof bytes);
    memcpy(text + sizeof bytes, name, n); /* NOLINT(bugprone-not-null-terminated-result): its length is told */
    hl_put_text(w, HL_TEXT_POOL, text, sizeof bytes + n);
}

HL_COLD void hl_pool_mapped(hl_wire_writer *w, const void *caller, uint64_t bytes)
{
    hl_pool_owner *owners = hl_tracker.pool_owners, *owner = NULL;
    uint32_t used = atomic_load(&hl_tracker.pool_owners_used);
    for (uint32_t i = 0; i < used && i < HL_POOL_OWNERS && !owner; i++) {
        uintptr_t to = atomic_load_explicit(&owners[i].to, memory_order_acquire);
        if ((uintptr_t)caller < to && (uintptr_t)caller >= owners[i].from)
            owner = &owners[i];
    }
    char name[NAME_BYTES] = "";
    if (!owner) {
        uintptr_t from, to;
        if (atomic_load_explicit(&hl_tracker.confined, memory_order_relaxed) || used >= HL_POOL_OWNERS ||
            !find_object((uintptr_t)caller, &from, &to, name))
            return;
        uint32_t index = atomic_fetch_add(&hl_tracker.pool_owners_used, 1);
        if (index >= HL_POOL_OWNERS)
            return;
        owner = &owners[index];
        owner->from = from;
        atomic_store_explicit(&owner->to, to, memory_order_release);
    }
    uint64_t taken = atomic_fetch_add(&owner->bytes, bytes) + bytes;
    if (taken < LEAST_BYTES || atomic_exchange(&owner->told, true))
        return;
    uintptr_t from, to; /* a forked child's library was named in its parent */
    if (*name || find_object((uintptr_t)caller, &from, &to, name))
        tell(w, name, taken);
}

void hl_pools_forked(void)
{
    for (uint32_t i = 0; i < HL_POOL_OWNERS; i++) {
        atomic_store(&hl_tracker.pool_owners[i].bytes, 0);
        atomic_store(&hl_tracker.pool_owners[i].told, false);
    }
}
