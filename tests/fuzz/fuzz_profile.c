/*
 * fuzz_profile.c - profiles that something has changed: opening one gives a profile or an error in words, and reading
 * all of it gives rows or SQL errors; nothing else.
 *
 * Random bytes would never get past the header, so the input is a list of changes to a sound profile: six bytes each,
 * offset (4, little-endian), what (1) and value (1). An input that begins with "SQLite" is taken as the file itself.
 */
#include "profile.h"
#include "synthetic.h"

#include <fcntl.h>
#include <sqlite3.h>
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

static void read_all(hl_profile *profile)
{
    static const char *const tables[] = {"meta",     "label", "process", "mapping",    "thread",   "file",
                                         "function", "frame", "stack",   "stack_kind", "stat",     "allocator",
                                         "tick",     "cell",  "mark",    "note",       "call_site"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[64];
        sqlite3_stmt *s = NULL;
        snprintf(sql, sizeof sql, "SELECT * FROM %s LIMIT 5000", tables[i]);
        if (sqlite3_prepare_v2(hl_profile_database(profile), sql, -1, &s, NULL) != SQLITE_OK)
            continue;
        while (sqlite3_step(s) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(s); c++)
                sqlite3_column_blob(s, c);
        }
        sqlite3_finalize(s);
    }
}

static int progress(void *left)
{
    return --*(int *)left <= 0; /* a changed view may ask for more than there is time for */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
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
    size_t bytes = size >= 6 && memcmp(data, "SQLite", 6) == 0 ? size : change(file, data, size);
    const uint8_t *whole = size >= 6 && memcmp(data, "SQLite", 6) == 0 ? data : file;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, whole, bytes, 0) != (ssize_t)bytes)
        abort();

    hl_profile *profile;
    char why[200];
    int error = hl_profile_open(&profile, path, why, sizeof why);
    if ((error == 0) != (profile != NULL) || (error != 0) != (why[0] != 0))
        abort();
    if (!error) {
        int left = 1000;
        sqlite3_progress_handler(hl_profile_database(profile), 10000, progress, &left);
        read_all(profile);
        hl_profile_close(profile);
    }
    return 0;
}
