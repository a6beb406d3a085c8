/*
 * Native symbols of real libraries against addr2line, at hundreds of places each. Both may be right and differ: addr2line
 * names padding after the function before it, unqualified what has no linkage name, and (binutils 2.40) sometimes the unit's
 * source file for a line of a header. So depth, lines and functions must agree, the last up to qualification.
 */
#include "symbols_fixture.h"

#include <glob.h>

enum { PLACES = 400 };

static place ours[PLACES], theirs[PLACES];
static uint32_t offsets[PLACES];

/* Section .text, as readelf says. Objects with a base other than 0 are not compared. */
static bool pick_offsets(const char *path)
{
    char command[600];
    unsigned long start = 0, bytes = 0;
    snprintf(command, sizeof command,
             "readelf -SW %s 2>/dev/null | sed -n 's/.* \\.text  *PROGBITS  *//p' | cut -d' ' -f1,3", path);
    FILE *f = popen(command, "r");
    bool is_found = f && fscanf(f, "%lx %lx", &start, &bytes) == 2 && bytes > PLACES && start + bytes < UINT32_MAX;
    if (f)
        pclose(f);
    if (!is_found)
        return false;
    uint32_t random = 11;
    for (int i = 0; i < PLACES; i++) {
        random = random * 1664525 + 1013904223;
        offsets[i] = (uint32_t)(start + bytes * (uint64_t)i / PLACES + random % (bytes / PLACES));
    }
    return true;
}

static bool ask_addr2line(const char *path)
{
    char command[700], line[4096], where[4096];
    FILE *f = fopen(in_folder("offsets"), "w");
    for (int i = 0; f && i < PLACES; i++)
        fprintf(f, "0x%x\n", offsets[i]);
    if (!f || fclose(f))
        return false;
    snprintf(command, sizeof command, "addr2line -afiC -e %s < %s 2>/dev/null", path, in_folder("offsets"));
    f = popen(command, "r");
    int i = -1;
    memset(theirs, 0, sizeof theirs);
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0x", 2) == 0) {
            if (++i == PLACES)
                break;
            continue;
        }
        if (i < 0 || !fgets(where, sizeof where, f))
            break;
        place *p = &theirs[i];
        char *colon = strrchr(where, ':');
        if (p->used < FRAMES_MOST && colon) {
            snprintf(p->function[p->used], sizeof p->function[0], "%.299s", line);
            p->line[p->used] = (uint32_t)atoi(colon + 1);
        }
        p->used++;
    }
    if (f)
        pclose(f);
    return i == PLACES - 1;
}

/* "ns::f(int)" and "f", "f.cold" and "f" are the same function. */
static bool is_same_function(const char *a, const char *b)
{
    return strcmp(a, b) == 0 || strstr(a, b) || strncmp(a, b, strcspn(b, ".([")) == 0 ||
           strncmp(a, b, strcspn(a, ".([")) == 0;
}

static bool compare(const char *path, bool has_lines)
{
    int deeper = 0, lines = 0, functions = 0, unnamed = 0, inlined = 0;
    char form[64];
    hl_symbols_options o = {.cache_directory = ""};
    if (access(path, R_OK) || !pick_offsets(path))
        return false;
    assert_true(ask_addr2line(path));
    hl_symbols *s = hl_symbols_open(&o);
    memset(ours, 0, sizeof ours);
    assert_int_equal(hl_symbols_resolve(s, path, "", offsets, PLACES, keep_place, ours), 0);
    assert_int_equal(hl_symbols_count(s).workers_lost, 0);
    hl_symbols_close(s);
    for (int i = 0; i < PLACES; i++) {
        const place *a = &ours[i], *b = &theirs[i];
        size_t shown = a->used < FRAMES_MOST ? a->used : FRAMES_MOST;
        snprintf(form, sizeof form, "+0x%x", offsets[i]);
        inlined += a->used > 1;
        deeper += a->used != b->used;
        if (strstr(a->function[shown - 1], form)) { /* in no function: addr2line takes the one before */
            unnamed++;
            continue;
        }
        for (size_t k = 0; k < shown && a->used == b->used; k++) {
            lines += a->line[k] != b->line[k];
            functions += !is_same_function(a->function[k], b->function[k]);
        }
    }
    print_message(
        "%s: %d places, %d with inlined frames, %d in no function; different from addr2line: depth %d, lines %d, "
        "functions %d\n",
        path, PLACES, inlined, unnamed, deeper, lines, functions);
    assert_in_range(deeper, 0, PLACES / 200);
    assert_in_range(lines, 0, PLACES / 100);
    assert_in_range(functions, 0, PLACES / 50);
    if (has_lines)
        assert_in_range(inlined, PLACES / 50, PLACES);
    return true;
}

static void compare_all(const char *pattern, bool has_lines)
{
    glob_t found;
    if (glob(pattern, GLOB_TILDE, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && i < 3; i++)
            compare(found.gl_pathv[i], has_lines);
        globfree(&found);
    }
}

static void interpreters_agree(void **state)
{
    compare_all("~/.pyenv/versions/3.*/lib/libpython3.*.so.1.0", true);
    compare_all("/usr/lib/*-linux-gnu/libpython3.*.so.1.0", false);
}

static void cplusplus_agrees(void **state)
{
    compare_all("/usr/lib/*-linux-gnu/libstdc++.so.6", false);
    compare_all("/usr/lib/*-linux-gnu/debug/libstdc++.so.6", true);
}

static void extension_modules_agree(void **state)
{
    compare_all("~/.cache/heapline/pythons/numpy/3.12/numpy/_core/_multiarray_umath.*.so", false);
    compare_all("~/.pyenv/versions/*/lib/python3.*/site-packages/numpy/_core/_multiarray_umath.*.so", false);
}

/* This test itself, with debug information by this compiler: there is always one library to compare. */
static void this_program_agrees(void **state)
{
    char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    assert_true(compare(path, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_program_agrees),
        cmocka_unit_test(interpreters_agree),
        cmocka_unit_test(cplusplus_agrees),
        cmocka_unit_test(extension_modules_agree),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
