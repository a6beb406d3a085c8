/* fuzz_own_malloc.c - any bytes as an executable whose symbols are looked through: no read outside of them, no endless loop. */
#include "own_malloc.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("executable", 0);
    if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    hl_own_malloc found = hl_own_malloc_of(fd);
    if (found.exported && !found.name)
        abort();
    return 0;
}
