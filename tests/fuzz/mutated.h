/*
 * mutated.h - a sound profile with changes, for fuzz targets; one file descriptor of it.
 *
 * Random bytes would never get past the header, so the input is a list of changes to a sound profile: six bytes each,
 * offset (4, little-endian), what (1) and value (1). An input that begins with "SQLite" is taken as the file itself.
 */
#ifndef HL_FUZZ_MUTATED_H
#define HL_FUZZ_MUTATED_H

#include "synthetic.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *sound;
static size_t sound_bytes;

static void make_sound(void)
{
    hl_synthetic_options o = hl_synthetic_defaults;
    o.nodes = 40;
    o.stats = 60;
    o.blocks = 300;
    o.ticks = 20;
    o.codes = 12;
    o.processes = 2;
    hl_synthetic *s = hl_synthetic_make(&o);
    char path[] = "/tmp/heapline-fuzz-XXXXXX";
    int fd = mkstemp(path);
    if (!s || fd < 0 || hl_synthetic_write(s, path) != 0)
        abort();
    close(fd);
    FILE *f = fopen(path, "rb");
    sound = malloc(1 << 20);
    sound_bytes = f ? fread(sound, 1, 1 << 20, f) : 0;
    if (!sound_bytes || sound_bytes == 1 << 20)
        abort();
    fclose(f);
    unlink(path);
    hl_synthetic_free(s);
}

static size_t change(uint8_t *file, const uint8_t *data, size_t size)
{
    size_t bytes = sound_bytes;
    memcpy(file, sound, sound_bytes);
    for (; size >= 6; data += 6, size -= 6) {
        uint32_t offset;
        memcpy(&offset, data, sizeof offset);
        size_t at = offset % sound_bytes;
        switch (data[4] % 8) {
        case 0: /* cut */
            bytes = at < bytes ? at : bytes;
            break;
        case 1: /* a page somewhere else */
            memmove(file + at / 4096 * 4096, file + data[5] % (sound_bytes / 4096) * 4096, 4096);
            break;
        case 2: /* in the header and the schema's page */
            file[at % 4096] = data[5];
            break;
        case 3: /* at the front of a page, where its structure is */
            file[at / 4096 * 4096 + at % 64] = data[5];
            break;
        default:
            file[at] = data[5];
        }
    }
    return bytes;
}

/* The path of the changed profile. */
static const char *mutated(const uint8_t *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    static uint8_t *file;
    if (fd < 0) {
        make_sound();
        fd = memfd_create("profile", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        file = malloc(1 << 20);
    }
    bool as_it_is = size >= 6 && memcmp(data, "SQLite", 6) == 0;
    size_t bytes = as_it_is ? size : change(file, data, size);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, as_it_is ? data : file, bytes, 0) != (ssize_t)bytes)
        abort();
    return path;
}

#endif
