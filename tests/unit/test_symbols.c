/* Functions, files, lines and inlined calls of native code, and what remains of them when files are missing or broken. */
#include "symbols_fixture.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void inlined_functions_are_expanded_across_files(void **state)
{
    static const char *const options[] = {"-gdwarf-5",
                                          "-gdwarf-4",
                                          "-gdwarf-3",
                                          "-gdwarf-5 -gz=zlib",
                                          "-g -gsplit-dwarf",
                                          "-gdwarf-5 -flto",
                                          "-g3 -ffunction-sections -Wl,--gc-sections"};
    place places[MARKS_MOST];
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        print_message("%s\n", options[i]);
        make_sample(options[i]);
        resolve_marks("sample.so", build_id_of("sample.so"), places);
        assert_sample_lines(places);
        char path[256];
        snprintf(path, sizeof path, "%s/inlined.h", folder);
        assert_string_equal(places[1].file[0], path); /* whole, and without "./" */
    }
}

static void other_compilers_are_read_too(void **state)
{
    place places[MARKS_MOST];
    if (!has_command("clang"))
        skip();
    make_sample("-g");
    assert_true(shell("clang -O2 -g -fPIC -shared -Wl,--build-id sample.c -o sample.so"));
    run_library("sample.so");
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_sample_lines(places);
}

static void executables_have_their_addresses_from_the_first_segment(void **state)
{
    place places[MARKS_MOST];
    make_sample("-g");
    write_text("main.c",
               "#include <stdio.h>\n#include \"sample.c\"\n"
               "static void tell(int line) { printf(\"%d %p\\n\", line, (char *)__builtin_return_address(0) - 1); }\n"
               "int main(void) { return run(tell) == 0; }\n");
    assert_true(shell("cc -O2 -g -static -no-pie main.c -o program && ./program > places"));
    FILE *f = fopen(in_folder("places"), "r");
    assert_non_null(f);
    void *pc;
    for (marks_used = 0; fscanf(f, "%d %p", &marks[marks_used].line, &pc) == 2; marks_used++)
        marks[marks_used].offset = (uint32_t)((uintptr_t)pc - 0x400000);
    fclose(f);
    assert_int_equal(marks_used, 3);
    resolve_marks("program", build_id_of("program"), places);
    assert_sample_lines(places);
}

static void without_dwarf_names_come_from_symbol_tables(void **state)
{
    place places[MARKS_MOST];
    make_sample("");
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_sample_names(places, "sample.so", true);
    assert_string_equal(places[0].file[0], in_folder("sample.so"));
    assert_true(shell("strip sample.so"));
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_sample_names(places, "sample.so", false);
    int fd = open(in_folder("sample.so"), O_RDWR);
    Elf64_Ehdr header;
    assert_int_equal(pread(fd, &header, sizeof header, 0), sizeof header);
    header.e_shoff = header.e_shnum = header.e_shstrndx = 0;
    assert_int_equal(pwrite(fd, &header, sizeof header, 0), sizeof header);
    close(fd);
    resolve_marks("sample.so", "", places);
    assert_offset_forms(places, "sample.so");
}

static void debug_files_are_found_by_build_id(void **state)
{
    place places[MARKS_MOST];
    make_sample("-g");
    char id[160];
    snprintf(id, sizeof id, "%s", build_id_of("sample.so"));
    assert_true(strlen(id) > 8);
    assert_true(
        shell("mkdir -p debug/.build-id/%.2s && objcopy --only-keep-debug sample.so debug/.build-id/%.2s/%s.debug && "
              "strip sample.so",
              id, id, id + 2));
    resolve_marks("sample.so", id, places);
    assert_sample_lines(places);
    /* Another object's file under that name is not believed. */
    assert_true(
        shell("cp sample.c other.c && echo 'int more;' >> other.c && cc -O2 -g -fPIC -shared -Wl,--build-id other.c -o "
              "debug/.build-id/%.2s/%s.debug",
              id, id + 2));
    resolve_marks("sample.so", id, places);
    assert_sample_names(places, "sample.so", false);
    assert_true(shell("rm -r debug"));
}

static void debug_files_are_found_by_link(void **state)
{
    place places[MARKS_MOST];
    static const char *const where[] = {".", ".debug", NULL};
    for (int with_id = 0; with_id < 2; with_id++) {
        for (int i = 0; i < 3; i++) {
            char there[256];
            make_sample(with_id ? "-g" : "-g -Wl,--build-id=none");
            snprintf(there, sizeof there, "%s%s", where[i] ? "" : "debug", where[i] ? where[i] : folder);
            assert_true(shell("objcopy --only-keep-debug sample.so sample.debug && strip sample.so && "
                              "objcopy --add-gnu-debuglink=sample.debug sample.so && mkdir -p %s && "
                              "{ mv sample.debug %s/ || true; }",
                              there, there));
            resolve_marks("sample.so", with_id ? build_id_of("sample.so") : "", places);
            assert_sample_lines(places);
            if (!with_id) { /* only the sum tells another file from the right one */
                assert_true(shell("echo >> %s/sample.debug", there));
                resolve_marks("sample.so", "", places);
                assert_sample_names(places, "sample.so", false);
            }
            assert_true(shell("rm %s/sample.debug", there));
        }
    }
}

static void what_dwz_has_shared_is_found(void **state)
{
    place places[MARKS_MOST];
    if (!has_command("dwz"))
        skip();
    make_sample("-g -gdwarf-4");
    assert_true(shell("cp sample.so second.so && cp sample.so third.so"));
    if (!shell("dwz -m %s/common.debug sample.so second.so third.so", folder))
        fail_msg("dwz failed");
    assert_true(shell("readelf -SW sample.so | grep -q gnu_debugaltlink"));
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_sample_lines(places);
}

static void debuginfod_is_asked_only_when_told_to(void **state)
{
    place places[MARKS_MOST];
    if (!shell("ldconfig -p | grep -q libdebuginfod.so.1 || /sbin/ldconfig -p | grep -q libdebuginfod.so.1"))
        skip();
    make_sample("-g");
    char url[128];
    snprintf(url, sizeof url, "file://%s/server", folder);
    assert_true(shell("mkdir -p server/buildid/%s && cp sample.so server/buildid/%s/debuginfo",
                      build_id_of("sample.so"), build_id_of("sample.so")));
    assert_true(shell("strip sample.so"));
    setenv("DEBUGINFOD_URLS", url, 1);
    setenv("DEBUGINFOD_CACHE_PATH", in_folder("client"), 1);
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_sample_names(places, "sample.so", false);
    assert_int_not_equal(access(in_folder("client"), F_OK), 0);
    effort = HL_SYMBOLS_SERVERS;
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_sample_lines(places);
    assert_null(hl_symbols_no_servers());
    unsetenv("DEBUGINFOD_URLS");
    assert_non_null(strstr(hl_symbols_no_servers(), "DEBUGINFOD_URLS is not set"));
    effort = HL_SYMBOLS_LINES;
}

static void cplusplus_names_are_readable(void **state)
{
    place places[MARKS_MOST];
    if (!has_command("g++"))
        skip();
    write_text("sample.cc",
               "namespace shapes {\n"
               "template <class T> struct box {\n"
               "    T t;\n"
               "    __attribute__((always_inline)) box(T v, void (*mark)(int)) : t(v) { mark(__LINE__); }\n"
               "    __attribute__((noinline)) T twice(void (*mark)(int)) const { mark(__LINE__); return t * 2; }\n"
               "};\n"
               "namespace { __attribute__((noinline)) int local(void (*mark)(int), int n)\n"
               "{ mark(__LINE__); return n + 1; } }\n"
               "int make(void (*mark)(int), int n) {\n"
               "    box<int> b(local(mark, n), mark);\n"
               "    return b.twice(mark) + 1; }\n"
               "}\n"
               "extern \"C\" void run(void (*mark)(int)) { volatile int n = shapes::make(mark, 1); (void)n; }\n");
    assert_true(shell("g++ -O2 -g -fPIC -shared -fno-inline-small-functions sample.cc -o sample.so"));
    run_library("sample.so");
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_int_equal(marks_used, 3);
    assert_frame(&places[0], 0, "shapes::(anonymous namespace)::local(void (*)(int), int)", "sample.cc", 8, false);
    assert_true(places[1].used >= 2);
    assert_memory_equal(places[1].function[0], "shapes::box<int>::box", 21);
    assert_int_equal(places[1].line[0], 4);
    assert_true(places[1].is_inline[0]);
    assert_frame(&places[1], 1, "shapes::make(void (*)(int), int)", "sample.cc", 10, places[1].used > 2);
    assert_frame(&places[2], 0, "shapes::box<int>::twice(void (*)(int)) const", "sample.cc", 5, false);
}

static void rust_names_are_readable(void **state)
{
    place places[MARKS_MOST];
    if (!shell("rustc --version"))
        skip();
    write_text("sample.rs", "type Caller = extern \"C\" fn(u32);\n"
                            "mod inner {\n"
                            "    #[inline(never)]\n"
                            "    pub fn grow<T: Copy>(mark: super::Caller, t: T) -> (T, T) {\n"
                            "        mark(line!());\n"
                            "        std::hint::black_box((t, t))\n"
                            "    }\n"
                            "}\n"
                            "#[no_mangle]\n"
                            "pub extern \"C\" fn run(mark: Caller) {\n"
                            "    std::hint::black_box(inner::grow(mark, 1u8));\n"
                            "}\n");
    static const char *const mangling[] = {"legacy", "v0"};
    static const char *const expected[] = {"sample::inner::grow", "sample::inner::grow::<u8>"};
    for (int i = 0; i < 2; i++) {
        if (!shell("rustc -g -O --crate-type cdylib -C symbol-mangling-version=%s sample.rs -o sample.so",
                   mangling[i])) {
            assert_int_equal(i, 0); /* stable compilers of today make no legacy names any more */
            continue;
        }
        run_library("sample.so");
        assert_int_equal(marks_used, 1);
        resolve_marks("sample.so", build_id_of("sample.so"), places);
        assert_frame(&places[0], 0, expected[i], "sample.rs", 5, false);
    }
}

static void functions_within_functions_are_found(void **state)
{
    place places[MARKS_MOST];
    write_text("nested.c", "int run(void (*mark)(int));\n"
                           "int run(void (*mark)(int))\n"
                           "{\n"
                           "    int sum = 0;\n"
                           "    __attribute__((noinline)) void within(int n) { mark(__LINE__); sum += n; }\n"
                           "    within(1);\n"
                           "    within(2);\n"
                           "    return sum;\n"
                           "}\n");
    assert_true(shell("gcc -O1 -g -fPIC -shared nested.c -o sample.so"));
    run_library("sample.so");
    resolve_marks("sample.so", build_id_of("sample.so"), places);
    assert_int_equal(marks_used, 2);
    assert_int_equal(places[0].used, 1);
    assert_frame(&places[0], 0, "within", "nested.c", 5, false);
}

static void a_replaced_binary_is_not_read(void **state)
{
    place places[MARKS_MOST];
    make_sample("-g");
    char id[160];
    snprintf(id, sizeof id, "%s", build_id_of("sample.so"));
    assert_true(shell(
        "sed -i 's/n \\* 3/n * 33333/' sample.c && cc -O2 -g -fPIC -shared -Wl,--build-id sample.c -o sample.so"));
    assert_string_not_equal(id, build_id_of("sample.so"));
    resolve_marks("sample.so", id, places);
    assert_offset_forms(places, "sample.so");
    /* Without a build id, age tells. */
    make_sample("-g -Wl,--build-id=none");
    hl_symbols_options o = no_cache();
    struct stat st;
    assert_int_equal(stat(in_folder("sample.so"), &st), 0);
    o.began_s = st.st_ctim.tv_sec - 10;
    assert_int_equal(resolve_with(&o, in_folder("sample.so"), "", places, NULL), 0);
    assert_offset_forms(places, "sample.so");
    o.began_s = st.st_ctim.tv_sec + 10;
    assert_int_equal(resolve_with(&o, in_folder("sample.so"), "", places, NULL), 0);
    assert_sample_lines(places);
    resolve_marks("sample.so", "0123456789abcdef", places); /* an id was announced, the file has none */
    assert_offset_forms(places, "sample.so");
}

static void files_that_cannot_be_read_give_offsets(void **state)
{
    place places[MARKS_MOST];
    make_sample("-g");
    char id[160];
    snprintf(id, sizeof id, "%s", build_id_of("sample.so"));
    assert_true(
        shell("chmod 711 . && mkfifo pipe && ln -s loop loop && mkdir -p directory && echo hello > text && : > empty"));
    static const char *const names[] = {"missing.so", "pipe", "loop", "directory", "text", "empty"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        resolve_marks(names[i], "", places);
        assert_offset_forms(places, names[i]);
    }
    hl_symbols_options o = no_cache();
    assert_int_equal(resolve_with(&o, "/dev/zero", "", places, NULL), 0);
    assert_offset_forms(places, "zero");
    assert_int_equal(resolve_with(&o, "sample.so", "", places, NULL), 0); /* relative to what? */
    assert_offset_forms(places, "sample.so");
    assert_true(shell("chmod 0 sample.so"));
    pid_t child = fork();
    if (child == 0) { /* as somebody who may not read it */
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(1);
        hl_symbols *s = hl_symbols_open(&o);
        place p = {0};
        int error = s ? hl_symbols_resolve(s, in_folder("sample.so"), id, &marks[0].offset, 1, keep_place, &p) : -1;
        _exit(error || p.used != 1 || strncmp(p.function[0], "sample.so+0x", 12) != 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void names_in_brackets_are_no_files(void **state)
{
    place places[MARKS_MOST];
    hl_symbols_options o = no_cache();
    static const char *const names[] = {"[generated code]", "[no unwind info: libx.so]", "(outer frames, cut)"};
    marks_used = 2;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(resolve_with(&o, names[i], "", places, NULL), 0);
        assert_int_equal(places[1].used, 1);
        assert_frame(&places[1], 0, names[i], "", 0, false);
    }
}

/* Every tenth byte of the file changed, one file after the other, and every length: names may go, nothing else. */
static void broken_files_cost_names_only(void **state)
{
    make_sample("-g");
    FILE *f = fopen(in_folder("sample.so"), "rb");
    assert_non_null(f);
    static uint8_t sound[1 << 17], broken[1 << 17];
    size_t bytes = fread(sound, 1, sizeof sound, f);
    fclose(f);
    assert_true(bytes > 1000 && bytes < sizeof sound);
    hl_symbols_options o = no_cache();
    hl_symbols *s = hl_symbols_open(&o);
    assert_non_null(s);
    int fd = open(in_folder("broken.so"), O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    uint32_t random = 7, offsets[3] = {marks[0].offset, marks[1].offset, marks[2].offset};
    for (int round = 0; round < 600; round++) {
        memcpy(broken, sound, bytes);
        size_t length = bytes;
        for (int k = 0; k < round % 40; k++) {
            random = random * 1664525 + 1013904223;
            broken[random % bytes] = (uint8_t)(random >> 24);
        }
        if (round % 10 == 0)
            length = bytes * (size_t)round / 600;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, broken, length, 0), (ssize_t)length);
        place places[3] = {0};
        assert_int_equal(hl_symbols_resolve(s, in_folder("broken.so"), "", offsets, 3, keep_place, places), 0);
        for (int i = 0; i < 3; i++)
            assert_true(places[i].used >= 1);
    }
    close(fd);
    print_message("workers lost: %d\n", (int)hl_symbols_count(s).workers_lost);
    hl_symbols_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inlined_functions_are_expanded_across_files),
        cmocka_unit_test(other_compilers_are_read_too),
        cmocka_unit_test(executables_have_their_addresses_from_the_first_segment),
        cmocka_unit_test(without_dwarf_names_come_from_symbol_tables),
        cmocka_unit_test(debug_files_are_found_by_build_id),
        cmocka_unit_test(debug_files_are_found_by_link),
        cmocka_unit_test(what_dwz_has_shared_is_found),
        cmocka_unit_test(debuginfod_is_asked_only_when_told_to),
        cmocka_unit_test(cplusplus_names_are_readable),
        cmocka_unit_test(rust_names_are_readable),
        cmocka_unit_test(functions_within_functions_are_found),
        cmocka_unit_test(a_replaced_binary_is_not_read),
        cmocka_unit_test(names_in_brackets_are_no_files),
        cmocka_unit_test(broken_files_cost_names_only),
        cmocka_unit_test(files_that_cannot_be_read_give_offsets),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
