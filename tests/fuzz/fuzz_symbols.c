/*
 * fuzz_symbols.c - the symboliser's inputs: ELF files with DWARF, and tables (cache files and the worker's answers). Each
 * place gets its frames exactly once, whatever the bytes are.
 *
 * Random bytes would never get past an ELF header. So the input's first byte chooses a small library that is compiled at the
 * start (DWARF 5, 4, compressed, symbols only, C++), and the rest is a list of changes to it: six bytes each, offset (4), what
 * (1), value (1). An input that begins with "\x7f" "ELF" is the file itself; one that begins with 'T' is a table.
 *
 * ELF files are read in this process, so that the sanitizers see our code; a crash within libdw itself would be found too,
 * and would cost a user names only. HL_FUZZ_WORKER=1 goes through the worker, as the collector does.
 */
#include "isolate.h"
#include "object.h"
#include "symbol_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SAMPLES = 5, SAMPLE_MOST = 1 << 18, OFFSETS = 64 };

static struct {
    uint8_t *bytes[SAMPLES];
    size_t size[SAMPLES];
    int fd;
    char path[64];
    hl_isolate worker;
    unsigned calls;
} fuzz = {.fd = -1};

static const char c_source[] =
    "struct s { int a, b; };\\n"
    "static inline __attribute__((always_inline)) int deep(struct s *p, int n) { return p->a * n + p->b; }\\n"
    "static inline __attribute__((always_inline)) int twice(struct s *p, int n) { return deep(p, n) + deep(p, n + 1); "
    "}\\n"
    "__attribute__((noinline)) static int hidden(struct s *p) { { int k = p->a; return twice(p, k) ^ k; } }\\n"
    "int shown(struct s *p, int n) { int sum = 0; for (int i = 0; i < n; i++) sum += hidden(p + i) + twice(p, i); "
    "return sum; }\\n"
    "__attribute__((cold, noinline)) void rare(void) { __builtin_trap(); }\\n"
    "int branchy(int n) { if (n > 7) rare(); return n * n; }\\n";
static const char cxx_source[] =
    "namespace outer { template <class T> struct box { T t; box(T v) : t(v) {} T get() const { return t; } }; "
    "namespace {"
    "int local(int n) { auto f = [n](int k) { return k * n; }; return f(3) + box<int>(n).get(); } } "
    "int shown(int n) { return local(n) + local(n + 1); } }\\n";

static void make_samples(void)
{
    static const char *const options[SAMPLES] = {"-gdwarf-5 -x c", "-gdwarf-4 -x c", "-gdwarf-5 -gz=zlib -x c", "-x c",
                                                 "-gdwarf-5 -x c++"};
    for (int i = 0; i < SAMPLES; i++) {
        char path[] = "/tmp/heapline-fuzz-XXXXXX", command[4096];
        int fd = mkstemp(path);
        snprintf(command, sizeof command,
                 "printf '%s' | ${CC:-cc} -O2 -fPIC -shared -nostdlib -Wl,-z,noseparate-code %s - -o %s",
                 i == 4 ? cxx_source : c_source, options[i], path);
        FILE *f = fd >= 0 && system(command) == 0 ? fopen(path, "rb") : NULL;
        fuzz.bytes[i] = malloc(SAMPLE_MOST);
        fuzz.size[i] = f && fuzz.bytes[i] ? fread(fuzz.bytes[i], 1, SAMPLE_MOST, f) : 0;
        if (!fuzz.size[i] || fuzz.size[i] == SAMPLE_MOST)
            abort();
        fclose(f);
        close(fd);
        unlink(path);
    }
    fuzz.fd = memfd_create("object", MFD_CLOEXEC);
    snprintf(fuzz.path, sizeof fuzz.path, "/proc/%d/fd/%d", (int)getpid(), fuzz.fd);
}

static size_t change(uint8_t *file, int sample, const uint8_t *data, size_t size)
{
    size_t whole = fuzz.size[sample], bytes = whole;
    memcpy(file, fuzz.bytes[sample], whole);
    for (; size >= 6; data += 6, size -= 6) {
        uint32_t offset;
        memcpy(&offset, data, sizeof offset);
        size_t at = offset % whole;
        switch (data[4] % 8) {
        case 0: /* cut */
            bytes = at < bytes && data[5] % 4 == 0 ? at : bytes;
            break;
        case 1: /* a piece somewhere else */
            memmove(file + at, file + data[5] * 64u % whole, whole - at < 64 ? whole - at : 64);
            if (data[5] * 64u % whole + 64 > whole)
                file[at] = 0xff;
            break;
        case 2: /* in the headers */
            file[at % 1024] = data[5];
            break;
        case 3: /* in the section headers, which are last */
            file[whole - 1 - at % (whole < 2560 ? whole : 2560)] = data[5];
            break;
        case 4: /* a large number */
            memset(file + at, data[5], whole - at < 4 ? whole - at : 4);
            break;
        default:
            file[at] = data[5];
        }
    }
    return bytes;
}

static void take(void *context, uint32_t offset, const hl_native_frame *frames, size_t n)
{
    hl_symbol_table *table = context;
    fuzz.calls++;
    if (n > HL_CHAIN_MOST || hl_symbol_table_add(table, offset, frames, n))
        abort();
}

static void read_object(const uint8_t *bytes, size_t size)
{
    uint32_t offsets[OFFSETS];
    for (uint32_t i = 0; i < OFFSETS; i++)
        offsets[i] = i * 16 + (i > 40 ? 4096 : 0x200);
    if (ftruncate(fuzz.fd, 0) || pwrite(fuzz.fd, bytes, size, 0) != (ssize_t)size)
        abort();
    hl_symbol_table table = {0};
    hl_resolve_request r = {.path = fuzz.path,
                            .build_id = "",
                            .debug_directory = "/nonexistent",
                            .offsets = offsets,
                            .n = OFFSETS,
                            .found = take,
                            .context = &table};
    fuzz.calls = 0;
    if (!getenv("HL_FUZZ_WORKER")) {
        hl_resolve(&r);
        if (fuzz.calls != OFFSETS)
            abort();
    } else {
        int error = hl_isolate_resolve(&fuzz.worker, &r, &(hl_isolate_limits){.silence_ms = 10000}, &table);
        if (error && error != -EIO && error != -ETIMEDOUT)
            abort();
        for (int i = 0; i < OFFSETS && !error; i++) {
            if (!hl_symbol_table_find(&table, offsets[i]))
                abort();
        }
    }
    hl_symbol_table_free(&table);
}

static void read_table(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size + 1); /* exactly as large as it is, for the sanitizer */
    hl_symbol_table table = {0}, copy = {0};
    memcpy(bytes, data, size);
    hl_symbol_table_seal("key", bytes, size);
    if (hl_symbol_table_read(&table, "key", bytes, size) == 0) {
        size_t length = 0;
        for (size_t i = 0; i < table.places_used; i++) {
            const hl_symbol_place *p = hl_symbol_table_find(&table, table.places[i].offset);
            for (size_t k = 0; k < p->frames_used; k++) {
                hl_native_frame f = hl_symbol_table_frame(&table, p, k);
                length += strlen(f.function) + strlen(f.file);
            }
        }
        hl_native_frame more = {.function = "added", .file = "later", .line = (uint32_t)length};
        if (hl_symbol_table_add(&table, 77, &more, 1) || hl_symbol_table_merge(&copy, &table) ||
            !hl_symbol_table_find(&copy, 77))
            abort();
    }
    hl_symbol_table_free(&table);
    hl_symbol_table_free(&copy);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[SAMPLE_MOST];
    if (fuzz.fd < 0)
        make_samples();
    if (!size || data[0] == 'T') {
        read_table(data + (size ? 1 : 0), size ? size - 1 : 0);
    } else if (size >= 4 && memcmp(data,
                                   "\x7f"
                                   "ELF",
                                   4) == 0) {
        read_object(data, size);
    } else {
        size_t bytes = change(file, data[0] % SAMPLES, data + 1, size - 1);
        read_object(file, bytes);
    }
    return 0;
}
