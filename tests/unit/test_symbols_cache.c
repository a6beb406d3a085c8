/* Tables of symbols as bytes, the cache of earlier runs, and a worker that is stopped, killed or hangs. */
#include "cache.h"
#include "object.h"
#include "symbol_table.h"
#include "symbols_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void tables_survive_being_bytes(void **state)
{
    hl_symbol_table table = {0}, read = {0};
    hl_native_frame frames[2] = {{"inner", "/a/b.h", 7, true}, {"outer", "/a/b.c", 70, false}};
    for (uint32_t i = 0; i < 3000; i++) { /* descending, and each third twice */
        char name[32];
        snprintf(name, sizeof name, "function%u", i % 500);
        frames[1].function = name;
        assert_int_equal(hl_symbol_table_add(&table, 100000 - i, frames, i % 3), 0);
        if (i % 3 == 0)
            assert_int_equal(hl_symbol_table_add(&table, 100000 - i, frames, 2), 0);
    }
    size_t bytes;
    uint8_t *written = hl_symbol_table_write(&table, "key", &bytes);
    assert_non_null(written);
    assert_true(bytes < 3000 * 60); /* each string once */
    assert_int_equal(hl_symbol_table_read(&read, "other key", written, bytes), -EINVAL);
    assert_int_equal(hl_symbol_table_read(&read, "key", written, bytes - 1), -EINVAL);
    assert_int_equal(hl_symbol_table_read(&read, "key", written, bytes), 0);
    assert_int_equal(read.places_used, 3000);
    for (uint32_t i = 0; i < 3000; i++) {
        const hl_symbol_place *at = hl_symbol_table_find(&read, 100000 - i);
        assert_non_null(at);
        assert_int_equal(at->frames_used, i % 3);
        if (i % 3 == 2) {
            char name[32];
            snprintf(name, sizeof name, "function%u", i % 500);
            hl_native_frame f = hl_symbol_table_frame(&read, at, 1);
            assert_string_equal(f.function, name);
            assert_string_equal(f.file, "/a/b.c");
            assert_int_equal(f.line, 70);
            assert_false(f.is_inline);
            assert_true(hl_symbol_table_frame(&read, at, 0).is_inline);
        }
    }
    assert_null(hl_symbol_table_find(&read, 5));
    for (size_t i = 0; i < bytes; i += bytes / 997 + 1) { /* any changed byte is noticed */
        written[i] ^= 0x20;
        hl_symbol_table damaged = {0};
        assert_int_equal(hl_symbol_table_read(&damaged, "key", written, bytes), -EINVAL);
        written[i] ^= 0x20;
    }
    free(written);
    hl_symbol_table_free(&table);
    hl_symbol_table_free(&read);
}

static void long_names_are_cut_and_say_so(void **state)
{
    hl_symbol_table table = {0};
    static char name[HL_SYMBOL_TEXT_MOST + 100];
    memset(name, 'n', sizeof name - 1);
    hl_native_frame frame = {.function = name};
    assert_int_equal(hl_symbol_table_add(&table, 1, &frame, 1), 0);
    frame = hl_symbol_table_frame(&table, hl_symbol_table_find(&table, 1), 0);
    assert_int_equal(strlen(frame.function), HL_SYMBOL_TEXT_MOST);
    assert_string_equal(frame.function + HL_SYMBOL_TEXT_MOST - 4, "n...");
    assert_string_equal(frame.file, "");
    hl_symbol_table_free(&table);
}

static void mangled_names_become_readable(void **state)
{
    static const struct {
        const char *mangled, *readable;
    } cases[] = {
        {"_ZN5outer3boxIiE3getEv", "outer::box<int>::get()"},
        {"_ZNSt6vectorIiSaIiEE9push_backEOi", "std::vector<int, std::allocator<int> >::push_back(int&&)"},
        {"_ZL6hiddenPi.constprop.0", "hidden(int*) [clone .constprop.0]"},
        {"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"},
        {"_RNvNtCs1234_7mycrate5inner4grow", "mycrate::inner::grow"},
        {"_RINvNtC7mycrate5inner4growhE", "mycrate::inner::grow::<u8>"},
        {"_D3std5stdio7writelnFZv", "std.stdio.writeln()"},
        /* libarrow and libstdc++ */
        {"_ZN5arrow2io16MemoryMappedFile8WillNeedERKSt6vectorINS0_9ReadRangeESaIS3_EE",
         "arrow::io::MemoryMappedFile::WillNeed(std::vector<arrow::io::ReadRange, "
         "std::allocator<arrow::io::ReadRange> > const&)"},
        {"_ZGVZN5arrow4util8internal33ByteStreamSplitEncodeSimdDispatchILi2EEEvPKhilPhE8dispatch",
         "guard variable for arrow::util::internal::ByteStreamSplitEncodeSimdDispatch<2>(unsigned char "
         "const*, int, long, unsigned char*)::dispatch"},
        {"_ZN5arrow2io19BufferedInputStreamD2Ev", "arrow::io::BufferedInputStream::~BufferedInputStream()"},
        {"_ZN5arrow24VarLengthListLikeBuilderINS_13LargeListTypeEE27UnsafeAppendEmptyDimensionsEl",
         "arrow::VarLengthListLikeBuilder<arrow::LargeListType>::UnsafeAppendEmptyDimensions(long)"},
        {"_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEE9_M_createERmm",
         "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> "
         ">::_M_create(unsigned long&, unsigned long)"},
        {"_ZNKSt5ctypeIcE8do_widenEc", "std::ctype<char>::do_widen(char) const"},
        /* rustc, legacy */
        {"_ZN47_$LT$a..Square$LT$T$GT$$u20$as$u20$a..Shape$GT$4grow17h8378960ac89b9594E",
         "<a::Square<T> as a::Shape>::grow"},
        {"_ZN70_$LT$alloc..vec..Vec$LT$T$C$A$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17haf9782a507e1"
         "6cf1E",
         "<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop"},
        {"_ZN4core3ptr87drop_glue$LT$alloc..boxed..Box$LT$dyn$u20$core..any..Any$u2b$core..marker..Send$G"
         "T$$GT$17h580b2e5281e9b3a8E",
         "core::ptr::drop_glue<alloc::boxed::Box<dyn core::any::Any+core::marker::Send>>"},
        {"_ZN9hashbrown3raw21RawTable$LT$T$C$A$GT$14reserve_rehash17h33084f9f482f6286E.llvm.4702483972077"
         "140158",
         "hashbrown::raw::RawTable<T,A>::reserve_rehash"},
        /* rustc, v0 */
        {"_RNvMs4_NtCslNYArtu3iFV_5alloc7raw_vecNtB5_11RawVecInner14grow_amortizedCsduwmD7cSIQq_5gimli",
         "<alloc::raw_vec::RawVecInner>::grow_amortized"},
        {"_RINvMs4_NtCsgY6Mt91CT9J_14rustc_demangle2v0NtB6_7Printer9in_binderNCNvB2_10print_types_0EB8_",
         "<rustc_demangle::v0::Printer>::in_binder::<<rustc_demangle::v0::Printer>::print_type::{closure#"
         "1}>"},
        {"_RNvXs_NtNtCsjrHSEGnQ3l9_3std2io5stdioNtB4_9StdoutRawNtB6_5Write18write_all_vectored",
         "<std::io::stdio::StdoutRaw as std::io::Write>::write_all_vectored"},
        {"_RINvNtNtCsgEmfK2I1SDS_4core5slice5index5rangeINtNtNtB6_3ops5range14RangeInclusivejEECsfEOYDRpO"
         "4Ta_11miniz_oxide",
         "core::slice::index::range::<core::ops::range::RangeInclusive<usize>>"},
        {"_RINvNtCsgEmfK2I1SDS_4core9panicking13assert_failedyyEB4_", "core::panicking::assert_failed::<u64, u64>"},
        /* libgdruntime, libgphobos */
        {"_D4core8demangle__T8DemangleTSQBcQBa15reencodeMangledFNaNbNfAxaZ12PrependHooksZQCi19parseCallCo"
         "nventionMFNaNfZv",
         "core.demangle.Demangle!(core.demangle.reencodeMangled(const(char)[]).PrependHooks).Demangle.par"
         "seCallConvention()"},
        {"_D3std11parallelism17cacheLineSizeImplFNbNiNeZm", "std.parallelism.cacheLineSizeImpl()"},
        {"_D3std11parallelism17ParallelismThread7__ClassZ", "ClassInfo for std.parallelism.ParallelismThread"},
        {"_D2gc4impl12conservativeQw15LargeObjectPool10allocPagesMFNbmZm",
         "gc.impl.conservative.gc.LargeObjectPool.allocPages(ulong)"},
        {"_D2gc4impl12conservativeQw14ConservativeGC10removeRootMFNbNiPvZv",
         "gc.impl.conservative.gc.ConservativeGC.removeRoot(void*)"},
        {"_Dmain", "D main"},
        {"_D2gc4bits6GCBits4copyMFNbPSQBaQBaQyZv", "gc.bits.GCBits.copy(gc.bits.GCBits*)"},
        {"_DTi16_D2gc4impl6manualQp8ManualGC7setAttrMFNbPvkZk",
         "thunk to gc.impl.manual.gc.ManualGC.setAttr(void*, uint)"},
        {"_DTi16_", NULL},
        {"_DTi_D3std5stdio7writelnFZv", NULL},
        {"memcpy@@GLIBC_2.14", "memcpy"},
        {"_ZdlPv@@GLIBCXX_3.4", "operator delete(void*)"},
        {"malloc", NULL},
        {"_start", NULL},
        {"_Znonsense", NULL},
        {"_Dnonsense", NULL},
        {"", NULL},
        {"@", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *readable = hl_demangle(cases[i].mangled);
        if (cases[i].readable) {
            assert_non_null(readable);
            assert_string_equal(readable, cases[i].readable);
        } else if (readable) {
            fail_msg("%s became %s", cases[i].mangled, readable);
        }
        free(readable);
    }
}

static hl_symbols_options with_cache(void)
{
    static char cache[128];
    hl_symbols_options o = no_cache();
    snprintf(cache, sizeof cache, "%s/cache/a/b", folder);
    o.cache_directory = cache;
    return o;
}

static int cache_files(const char *name, uint64_t *bytes)
{
    DIR *list = opendir(in_folder(name));
    int n = 0;
    *bytes = 0;
    for (struct dirent *d; list && (d = readdir(list)) != NULL;) {
        struct stat st;
        if (d->d_name[0] == '.')
            continue;
        n++;
        if (fstatat(dirfd(list), d->d_name, &st, 0) == 0)
            *bytes += (uint64_t)st.st_blocks * 512;
    }
    if (list)
        closedir(list);
    return n;
}

static void a_second_run_parses_nothing(void **state)
{
    place places[MARKS_MOST];
    hl_symbols_counts counts;
    uint64_t bytes;
    make_sample("-g");
    char id[160], path[256];
    snprintf(id, sizeof id, "%s", build_id_of("sample.so"));
    snprintf(path, sizeof path, "%s", in_folder("sample.so"));
    hl_symbols_options o = with_cache();
    assert_int_equal(resolve_with(&o, path, id, places, &counts), 0);
    assert_sample_lines(places);
    assert_int_equal(counts.cached, 0);
    assert_int_equal(counts.resolved, 3);
    assert_int_equal(cache_files("cache/a/b", &bytes), 1);
    struct stat st;
    assert_int_equal(stat(in_folder("cache/a/b"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(shell("mv sample.so moved.so")); /* it is not even there */
    assert_int_equal(resolve_with(&o, path, id, places, &counts), 0);
    assert_sample_lines(places);
    assert_int_equal(counts.cached, 3);
    assert_int_equal(counts.resolved, 0);
    /* New places of a known object are added. */
    assert_true(shell("mv moved.so sample.so"));
    marks[3] = (mark){.offset = marks[1].offset - 1};
    marks_used = 4;
    assert_int_equal(resolve_with(&o, path, id, places, &counts), 0);
    assert_int_equal(counts.cached, 3);
    assert_int_equal(counts.resolved, 1);
    assert_int_equal(resolve_with(&o, path, id, places, &counts), 0);
    assert_int_equal(counts.cached, 4);
    assert_sample_lines(places);
    /* What a replaced file, or one without its lines, does not say any more is not kept as unknown. */
    marks[4] = (mark){.offset = marks[1].offset - 2};
    marks_used = 5;
    assert_true(shell("mv sample.so moved.so && cp /proc/self/exe sample.so"));
    assert_int_equal(resolve_with(&o, path, id, places, NULL), 0);
    assert_memory_equal(places[4].function[0], "sample.so+0x", 12);
    assert_sample_lines(places);
    assert_true(shell("strip -g moved.so -o sample.so"));
    assert_int_equal(resolve_with(&o, path, id, places, NULL), 0);
    assert_string_equal(places[4].function[0], "outer");
    assert_int_equal(places[4].line[0], 0);
    assert_true(shell("mv moved.so sample.so"));
    assert_int_equal(resolve_with(&o, path, id, places, &counts), 0);
    assert_int_equal(counts.cached, 4);
    assert_int_not_equal(places[4].line[0], 0);
}

static void what_has_no_lines_is_not_cached(void **state)
{
    place places[MARKS_MOST];
    hl_symbols_counts counts;
    make_sample("");
    hl_symbols_options o = with_cache();
    for (int i = 0; i < 2; i++) { /* debug information may be installed in between */
        assert_int_equal(resolve_with(&o, in_folder("sample.so"), build_id_of("sample.so"), places, &counts), 0);
        assert_int_equal(counts.resolved, 3);
        assert_sample_names(places, "sample.so", true);
    }
}

static void damaged_cache_files_are_made_again(void **state)
{
    place places[MARKS_MOST];
    hl_symbols_counts counts;
    make_sample("-g");
    char id[160];
    snprintf(id, sizeof id, "%s", build_id_of("sample.so"));
    hl_symbols_options o = with_cache();
    static const char *const damages[] = {"printf x | dd of=$F bs=1 seek=90 conv=notrunc",
                                          "truncate -s 40 $F",
                                          ": > $F",
                                          "rm $F; mkdir $F",
                                          "rm -r $F; ln -s /etc/passwd $F",
                                          "rm $F; mkfifo $F",
                                          "rm -r cache; echo > cache",
                                          "rm cache; mkdir -p cache/a/b; chmod 777 cache/a/b",
                                          "rm -r cache; mkdir -p cache/a; ln -s /nonexistent cache/a/b"};
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        assert_int_equal(resolve_with(&o, in_folder("sample.so"), id, places, NULL), 0);
        assert_true(shell("F=cache/a/b/1-%s; %s", id, damages[i]));
        assert_int_equal(resolve_with(&o, in_folder("sample.so"), id, places, &counts), 0);
        assert_int_equal(counts.cached, 0);
        assert_sample_lines(places);
    }
    assert_true(shell("rm -rf cache"));
}

/* A table of about `bytes` under a made-up build id. */
static int store(const char *path, const char *id, size_t bytes, uint64_t most_bytes)
{
    hl_symbol_table table = {0};
    for (uint32_t i = 0; i < bytes / 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%07u", i);
        hl_native_frame frame = {.function = name, .line = 1};
        assert_int_equal(hl_symbol_table_add(&table, i, &frame, 1), 0);
    }
    int error = hl_symbol_cache_store(path, id, &table, most_bytes);
    hl_symbol_table_free(&table);
    return error;
}

static bool is_cached(const char *path, const char *id)
{
    hl_symbol_table table = {0};
    bool is_there = hl_symbol_cache_load(path, id, &table);
    hl_symbol_table_free(&table);
    return is_there;
}

static void the_cache_keeps_what_was_used_last(void **state)
{
    const char *path = in_folder("bounded");
    char id[32];
    uint64_t bytes;
    for (int i = 0; i < 10; i++) {
        snprintf(id, sizeof id, "aaaaaaaa%02d", i);
        assert_int_equal(store(path, id, 100000, 1 << 20), 0);
        if (i)
            assert_true(is_cached(path, "aaaaaaaa00")); /* used all the time */
        usleep(2000);                                   /* so that modification times differ */
    }
    for (int i = 10; i < 20; i++) {
        snprintf(id, sizeof id, "aaaaaaaa%02d", i);
        assert_int_equal(store(path, id, 100000, 1 << 20), 0);
        assert_true(is_cached(path, "aaaaaaaa00"));
        usleep(2000);
        cache_files("bounded", &bytes);
        assert_true(bytes <= 1 << 20);
    }
    assert_true(is_cached(path, "aaaaaaaa19"));
    assert_false(is_cached(path, "aaaaaaaa01"));
    assert_int_equal(store(path, "bbbbbbbb", 4 << 20, 1 << 20), -EFBIG); /* larger than all that is allowed */
    assert_true(is_cached(path, "aaaaaaaa19"));
    /* Names come from the program. */
    static const char *const bad[] = {"", "abc", "../../../../etc/passwd", "aaaaaaa/aaaaaaaa", "AAAAAAAAAA"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(store(path, bad[i], 100, 1 << 20), -EINVAL);
        assert_false(is_cached(path, bad[i]));
    }
}

static void several_collectors_use_one_cache(void **state)
{
    char path[128];
    pid_t children[4];
    uint64_t bytes;
    snprintf(path, sizeof path, "%s", in_folder("common"));
    for (int c = 0; c < 4; c++) {
        children[c] = fork();
        if (children[c])
            continue;
        for (int i = 0; i < 60; i++) {
            char id[32];
            snprintf(id, sizeof id, "cccccccc%02d", (i * (c + 1)) % 7);
            hl_symbol_table table = {0};
            /* What is there is whole: a torn file would not be read, and made again. */
            if (hl_symbol_cache_load(path, id, &table) && (table.places_used < 2000 || table.places_used > 2500))
                _exit(2);
            hl_symbol_table_free(&table);
            if (store(path, id, 80000 + (size_t)c * 5000, 512 << 10) != 0)
                _exit(1);
        }
        _exit(0);
    }
    for (int c = 0; c < 4; c++) {
        int status;
        assert_int_equal(waitpid(children[c], &status, 0), children[c]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(store(path, "cccccccc00", 80000, 512 << 10), 0);
    int files = cache_files("common", &bytes);
    assert_in_range(files, 4, 7);
    assert_true(bytes <= 512 << 10);
}

/* A child with a file system of its own at `path`, of 64 KiB. Whether there can be one. */
static bool enter_small_disk(const char *path)
{
    char map[64];
    snprintf(map, sizeof map, "0 %u 1\n", (unsigned)geteuid());
    if (geteuid() == 0 ? unshare(CLONE_NEWNS) : unshare(CLONE_NEWNS | CLONE_NEWUSER))
        return false;
    int fd = open("/proc/self/uid_map", O_WRONLY);
    if (fd >= 0) {
        (void)!write(fd, map, strlen(map)); /* only in a user namespace of our own */
        close(fd);
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", path, "tmpfs", 0, "size=64k,mode=700") == 0;
}

/* 0: as it should be; 77: there can be no such disk here. */
static int on_a_full_disk(const char *path)
{
    char cache[256];
    uint64_t bytes;
    if (!enter_small_disk(path))
        return 77;
    snprintf(cache, sizeof cache, "%s/cache", path);
    if (store(cache, "dddddddd00", 20000, 1 << 20) != 0 || !is_cached(cache, "dddddddd00"))
        return 1;
    if (store(cache, "dddddddd01", 200000, 1 << 20) != -ENOSPC)
        return 2;
    /* What was there is there, and nothing that is half. */
    if (!is_cached(cache, "dddddddd00") || is_cached(cache, "dddddddd01") || cache_files("small/cache", &bytes) != 1)
        return 3;
    place places[MARKS_MOST];
    hl_symbols_options o = no_cache();
    o.cache_directory = cache;
    if (!shell("head -c 1M /dev/zero > small/filler; true"))
        return 4;
    if (resolve_with(&o, in_folder("sample.so"), build_id_of("sample.so"), places, NULL) != 0)
        return 5;
    assert_sample_lines(places);
    return 0;
}

static void a_full_disk_costs_the_cache_only(void **state)
{
    int status;
    make_sample("-g");
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("small"));
    assert_int_equal(mkdir(path, 0700), 0);
    pid_t child = fork();
    if (child == 0)
        _exit(on_a_full_disk(path));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void folders_that_cannot_be_are_no_cache(void **state)
{
    static const char *const folders[] = {"/proc/heapline", "/dev/null/heapline", ""};
    place places[MARKS_MOST];
    hl_symbols_counts counts;
    make_sample("-g");
    char id[160];
    snprintf(id, sizeof id, "%s", build_id_of("sample.so"));
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        hl_symbols_options o = no_cache();
        o.cache_directory = folders[i];
        assert_int_equal(resolve_with(&o, in_folder("sample.so"), id, places, &counts), 0);
        assert_int_equal(counts.cached, 0);
        assert_sample_lines(places);
    }
    static const struct {
        const char *cache, *home, *expected;
    } environments[] = {
        {NULL, NULL, NULL},
        {"", "", NULL},
        {"relative", NULL, NULL},
        {"relative", "/home/x", "/home/x/.cache/heapline/symbols"},
        {NULL, "relative", NULL},
        {NULL, "/home/x", "/home/x/.cache/heapline/symbols"},
        {"/c", "/home/x", "/c/heapline/symbols"},
        {"/c", NULL, "/c/heapline/symbols"},
    };
    for (size_t i = 0; i < sizeof environments / sizeof *environments; i++) {
        environments[i].cache ? setenv("XDG_CACHE_HOME", environments[i].cache, 1) : unsetenv("XDG_CACHE_HOME");
        environments[i].home ? setenv("HOME", environments[i].home, 1) : unsetenv("HOME");
        char *found = hl_symbol_cache_folder(NULL);
        if (environments[i].expected)
            assert_string_equal(found, environments[i].expected);
        else
            assert_null(found);
        free(found);
    }
}

/* ---- the worker ---- */

typedef struct interference {
    int signal;
    int times;
    int asked;
    bool stops;
} interference;

/* The first line of a file, "" when there is none. */
static void read_line(char *to, size_t room, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f || !fgets(to, (int)room, f))
        to[0] = '\0';
    if (f)
        fclose(f);
    to[strcspn(to, "\n")] = '\0';
}

/* Sends the signal to this process's child once that has become the worker. */
static bool interfere(void *context)
{
    interference *i = context;
    char line[64], path[64];
    i->asked++;
    if (i->stops)
        return true;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    read_line(line, sizeof line, path);
    int child = atoi(line);
    if (child <= 0 || i->times <= 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/comm", child);
    read_line(line, sizeof line, path);
    if (strcmp(line, "heapline-names") == 0) {
        kill(child, i->signal);
        i->times--;
    }
    return false;
}

/* The state (proc(5)) of this process's only child, 0 without one. */
static char state_of_child(void)
{
    char line[256], path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    read_line(line, sizeof line, path);
    if (atoi(line) <= 0)
        return '\0';
    snprintf(path, sizeof path, "/proc/%d/stat", atoi(line));
    read_line(line, sizeof line, path);
    const char *name_end = strrchr(line, ')');
    return name_end ? name_end[2] : '\0';
}

/* A worker that is at work gets all the time it needs, however busy the machine is: only one that was stopped is silent.
 * When this is called the request has been sent, so a worker that sleeps has answered it. */
static bool wait_for_answer(void *context)
{
    for (char state; (state = state_of_child()) == 'R' || state == 'D';)
        usleep(1000);
    return false;
}

/* A killed worker's work is done again; of one that hangs, only what symbol tables say. */
static void a_lost_worker_is_replaced(void **state)
{
    static const int signals[] = {SIGKILL, SIGSEGV, SIGSTOP};
    uint32_t offsets[3];
    signal(SIGSEGV, SIG_DFL); /* until it sets its own, the worker has cmocka's */
    make_sample("-g");
    for (int i = 0; i < 3; i++)
        offsets[i] = marks[i].offset;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        interference lost = {.signal = signals[i], .times = 1};
        place places[3] = {0}, again[3] = {0};
        hl_symbols_options o = no_cache();
        if (signals[i] == SIGSTOP)
            o.silence_limit_ms = 200;
        o.stop = wait_for_answer;
        hl_symbols *s = hl_symbols_open(&o);
        while (lost.times) /* until the worker is there */
            interfere(&lost);
        assert_int_equal(hl_symbols_resolve(s, in_folder("sample.so"), "", offsets, 3, keep_place, places), 0);
        if (signals[i] == SIGSTOP)
            assert_sample_names(places, "sample.so", true);
        else
            assert_sample_lines(places);
        assert_int_equal(hl_symbols_count(s).workers_lost, 1);
        assert_int_equal(hl_symbols_resolve(s, in_folder("sample.so"), "", offsets, 3, keep_place, again), 0);
        assert_sample_lines(again);
        assert_int_equal(hl_symbols_count(s).workers_lost, 1);
        hl_symbols_close(s);
    }
}

/* At any moment, and up to three times: then offsets are all there is. */
static void workers_may_be_lost_at_any_time(void **state)
{
    place places[MARKS_MOST];
    hl_symbols_counts counts;
    signal(SIGSEGV, SIG_DFL); /* as above */
    make_sample("-g");
    for (int round = 0; round < 12; round++) {
        interference i = {.signal = round % 2 ? SIGKILL : SIGSEGV, .times = 1 + round % 4};
        hl_symbols_options o = no_cache();
        o.stop = interfere;
        o.context = &i;
        assert_int_equal(resolve_with(&o, in_folder("sample.so"), build_id_of("sample.so"), places, &counts), 0);
        if (counts.workers_lost < 2)
            assert_sample_lines(places);
        else if (counts.workers_lost == 2)
            assert_sample_names(places, "sample.so", true);
        else
            assert_offset_forms(places, "sample.so");
        assert_true(i.asked > 0);
    }
}

static void stopping_gives_offsets_at_once(void **state)
{
    place places[MARKS_MOST];
    make_sample("-g");
    interference i = {.stops = true};
    hl_symbols_options o = no_cache();
    o.stop = interfere;
    o.context = &i;
    assert_int_equal(resolve_with(&o, in_folder("sample.so"), build_id_of("sample.so"), places, NULL), -ECANCELED);
    assert_offset_forms(places, "sample.so");
    /* What the cache has is there all the same. */
    hl_symbols_options cached = with_cache();
    assert_int_equal(resolve_with(&cached, in_folder("sample.so"), build_id_of("sample.so"), places, NULL), 0);
    cached.stop = interfere;
    cached.context = &i;
    assert_int_equal(resolve_with(&cached, in_folder("sample.so"), build_id_of("sample.so"), places, NULL), 0);
    assert_sample_lines(places);
}

static void the_worker_ends_with_its_owner(void **state)
{
    int ends[2];
    char seen;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        hl_symbols_options o = no_cache();
        place p = {0};
        close(ends[0]);
        hl_symbols *s = hl_symbols_open(&o);
        uint32_t offset = 1;
        hl_symbols_resolve(s, in_folder("sample.so"), "", &offset, 1, keep_place, &p);
        _exit(0); /* without hl_symbols_close */
    }
    close(ends[1]);
    /* The end of the pipe: nobody has it open any more. The worker had closed it, or is gone. */
    assert_int_equal(read(ends[0], &seen, 1), 0);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static int count_found;

static void count_place(void *context, size_t index, const hl_native_frame *frames, size_t n)
{
    assert_int_equal(index, count_found);
    assert_true(n >= 1);
    count_found++;
}

static void many_places_repeated_and_in_any_order(void **state)
{
    make_sample("-g");
    enum { MANY = 20000 };
    static uint32_t offsets[MANY];
    for (uint32_t i = 0; i < MANY; i++)
        offsets[i] = i * 7919 % 5000;
    hl_symbols_options o = no_cache();
    hl_symbols *s = hl_symbols_open(&o);
    count_found = 0;
    assert_int_equal(hl_symbols_resolve(s, in_folder("sample.so"), "", offsets, MANY, count_place, NULL), 0);
    assert_int_equal(count_found, MANY);
    assert_int_equal(hl_symbols_count(s).resolved, 5000);
    assert_int_equal(hl_symbols_resolve(s, in_folder("sample.so"), "", offsets, 0, count_place, NULL), 0);
    hl_symbols_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_survive_being_bytes),
        cmocka_unit_test(long_names_are_cut_and_say_so),
        cmocka_unit_test(mangled_names_become_readable),
        cmocka_unit_test(a_second_run_parses_nothing),
        cmocka_unit_test(what_has_no_lines_is_not_cached),
        cmocka_unit_test(damaged_cache_files_are_made_again),
        cmocka_unit_test(the_cache_keeps_what_was_used_last),
        cmocka_unit_test(several_collectors_use_one_cache),
        cmocka_unit_test(a_full_disk_costs_the_cache_only),
        cmocka_unit_test(folders_that_cannot_be_are_no_cache),
        cmocka_unit_test(a_lost_worker_is_replaced),
        cmocka_unit_test(workers_may_be_lost_at_any_time),
        cmocka_unit_test(stopping_gives_offsets_at_once),
        cmocka_unit_test(the_worker_ends_with_its_owner),
        cmocka_unit_test(many_places_repeated_and_in_any_order),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
