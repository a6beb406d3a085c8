/*
 * symbols_fixture.h - small libraries that are compiled and called by the tests of native symbols. A library's run() gets a
 * function to call with the line it calls from: so each place comes with the truth about it.
 */
#ifndef HL_TESTS_SYMBOLS_FIXTURE_H
#define HL_TESTS_SYMBOLS_FIXTURE_H

#include "symbols.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MARKS_MOST = 16, FRAMES_MOST = 16 };

typedef struct mark {
    uintptr_t pc; /* in the call */
    uint32_t offset;
    int line;
} mark;

/* A place's frames, copied. */
typedef struct place {
    char function[FRAMES_MOST][300], file[FRAMES_MOST][300];
    uint32_t line[FRAMES_MOST];
    bool is_inline[FRAMES_MOST];
    size_t used;
} place;

static char folder[64];
static mark marks[MARKS_MOST];
static size_t marks_used;
static hl_symbols_effort effort = HL_SYMBOLS_LINES;

static inline int make_folder(void **state)
{
    strcpy(folder, "/tmp/heapline-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int remove_folder(void **state)
{
    char command[256];
    snprintf(command, sizeof command, "chmod -R u+rwX %s; rm -rf %s", folder, folder);
    return system(command);
}

/* Runs a shell command in the folder. */
__attribute__((format(printf, 1, 2))) static bool shell(const char *format, ...)
{
    char command[8192];
    int used = snprintf(command, sizeof command, "cd %s && { ", folder);
    va_list arguments;
    va_start(arguments, format);
    used += vsnprintf(command + used, sizeof command - (size_t)used, format, arguments);
    va_end(arguments);
    assert_true((size_t)used + 32 < sizeof command);
    snprintf(command + used, sizeof command - (size_t)used, "; } >>log 2>&1");
    return system(command) == 0;
}

static inline bool has_command(const char *name) { return shell("command -v %s", name); }

/* Of the last four calls. */
static inline const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

__attribute__((noinline)) static void note(int line)
{
    assert_true(marks_used < MARKS_MOST);
    marks[marks_used++] = (mark){.pc = (uintptr_t)__builtin_return_address(0) - 1, .line = line};
}

/* Calls the library's run(); `marks` says where it called from. */
static inline void run_library(const char *name)
{
    void *library = dlopen(in_folder(name), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fail_msg("%s: %s", name, dlerror());
        return;
    }
    void (*run)(void (*)(int));
    *(void **)&run = dlsym(library, "run");
    if (!run) {
        fail_msg("%s has no run()", name);
        return;
    }
    marks_used = 0;
    run(note);
    for (size_t i = 0; i < marks_used; i++) {
        Dl_info object;
        assert_true(dladdr((void *)marks[i].pc, &object));
        marks[i].offset = (uint32_t)(marks[i].pc - (uintptr_t)object.dli_fbase);
    }
    dlclose(library);
}

/* The build id as readelf prints it, or "". Static memory. */
static inline const char *build_id_of(const char *name)
{
    static char id[160];
    char command[512];
    snprintf(command, sizeof command, "readelf -n %s 2>/dev/null | sed -n 's/.*Build ID: //p'", in_folder(name));
    FILE *f = popen(command, "r");
    id[0] = '\0';
    if (f && fgets(id, sizeof id, f))
        id[strcspn(id, "\n")] = '\0';
    if (f)
        pclose(f);
    return id;
}

static inline void keep_place(void *context, size_t index, const hl_native_frame *frames, size_t n)
{
    place *p = (place *)context + index;
    assert_true(n >= 1);
    assert_int_equal(p->used, 0); /* each place once */
    p->used = n;
    for (size_t i = 0; i < n && i < FRAMES_MOST; i++) {
        assert_true(*frames[i].function);
        snprintf(p->function[i], sizeof p->function[i], "%s", frames[i].function);
        snprintf(p->file[i], sizeof p->file[i], "%s", frames[i].file);
        p->line[i] = frames[i].line;
        p->is_inline[i] = frames[i].is_inline;
    }
}

static inline hl_symbols_options no_cache(void)
{
    static char debug[128]; /* options point to it for longer than in_folder promises */
    snprintf(debug, sizeof debug, "%s/debug", folder);
    return (hl_symbols_options){.cache_directory = "", .debug_directory = debug};
}

/* All marks of a file, by a symboliser of its own. */
static inline int resolve_with(const hl_symbols_options *options, const char *path, const char *build_id, place *places,
                               hl_symbols_counts *counts)
{
    uint32_t offsets[MARKS_MOST];
    for (size_t i = 0; i < marks_used; i++)
        offsets[i] = marks[i].offset;
    memset(places, 0, MARKS_MOST * sizeof *places);
    hl_symbols *s = hl_symbols_open(options);
    assert_non_null(s);
    hl_symbols_try(s, effort);
    int error = hl_symbols_resolve(s, path, build_id, offsets, marks_used, keep_place, places);
    if (counts)
        *counts = hl_symbols_count(s);
    hl_symbols_close(s);
    return error;
}

static inline void resolve_marks(const char *name, const char *build_id, place *places)
{
    hl_symbols_options o = no_cache();
    assert_int_equal(resolve_with(&o, in_folder(name), build_id, places, NULL), 0);
}

static inline void assert_frame(const place *p, size_t i, const char *function, const char *file, uint32_t line,
                                bool is_inline)
{
    assert_true(i < p->used);
    assert_string_equal(p->function[i], function);
    assert_string_equal(strrchr(p->file[i], '/') ? strrchr(p->file[i], '/') + 1 : p->file[i], file);
    assert_int_equal(p->line[i], line);
    assert_int_equal(p->is_inline[i], is_inline);
}

/* ---- the C library: two files, inlined over two levels ---- */

static const char inlined_h[] = "typedef void caller(int);\n"
                                "static inline __attribute__((always_inline)) int innermost(caller *mark, int n)\n"
                                "{\n"
                                "    mark(__LINE__);\n"
                                "    return n + 1;\n"
                                "}\n"
                                "static inline __attribute__((always_inline)) int middle(caller *mark, int n)\n"
                                "{\n"
                                "    n += 2;\n"
                                "    return innermost(mark, n) * 2;\n"
                                "}\n";
static const char sample_c[] = "#include \"inlined.h\"\n"
                               "int outer(caller *mark, int n);\n"
                               "__attribute__((noinline)) int outer(caller *mark, int n)\n"
                               "{\n"
                               "    return middle(mark, n) + 3;\n"
                               "}\n"
                               "__attribute__((noinline, noclone)) static int hidden(caller *mark, volatile int n)\n"
                               "{\n"
                               "    mark(__LINE__);\n"
                               "    return n * 3;\n"
                               "}\n"
                               "int run(caller *mark);\n"
                               "int run(caller *mark)\n"
                               "{\n"
                               "    mark(__LINE__);\n"
                               "    return outer(mark, 1) + hidden(mark, 2);\n"
                               "}\n";

/* Compiles it and runs it: marks of run, outer (three frames) and hidden. */
static inline void make_sample(const char *options)
{
    write_text("inlined.h", inlined_h);
    write_text("sample.c", sample_c);
    assert_true(shell("cc -O2 -fPIC -shared -Wl,--build-id %s sample.c -o sample.so", options));
    run_library("sample.so");
    assert_int_equal(marks_used, 3);
}

static inline void assert_sample_lines(const place *places)
{
    assert_int_equal(places[0].used, 1);
    assert_frame(&places[0], 0, "run", "sample.c", 15, false);
    assert_int_equal(places[1].used, 3);
    assert_frame(&places[1], 0, "innermost", "inlined.h", 4, true);
    assert_frame(&places[1], 1, "middle", "inlined.h", 10, true);
    assert_frame(&places[1], 2, "outer", "sample.c", 5, false);
    assert_int_equal(places[2].used, 1);
    assert_frame(&places[2], 0, "hidden", "sample.c", 9, false);
}

/* With symbol tables alone; `hidden` is in .symtab only. */
static inline void assert_sample_names(const place *places, const char *file, bool has_hidden)
{
    char form[64];
    snprintf(form, sizeof form, "%s+0x%x", file, marks[2].offset);
    for (int i = 0; i < 3; i++)
        assert_int_equal(places[i].used, 1);
    assert_frame(&places[0], 0, "run", file, 0, false);
    assert_frame(&places[1], 0, "outer", file, 0, false);
    assert_frame(&places[2], 0, has_hidden ? "hidden" : form, file, 0, false);
}

static inline void assert_offset_forms(const place *places, const char *file)
{
    for (size_t i = 0; i < marks_used; i++) {
        char form[64];
        snprintf(form, sizeof form, "%s+0x%x", file, marks[i].offset);
        assert_int_equal(places[i].used, 1);
        assert_frame(&places[i], 0, form, file, 0, false);
    }
}

#endif
