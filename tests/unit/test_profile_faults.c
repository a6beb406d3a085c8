/*
 * What happens to a profile when something gives out: memory at each allocation in turn, the disk in the middle of a
 * publish, the process at any moment of one. What must hold: no crash, an error in words, the last file whole, nothing left
 * beside it, and the same batch applied again gives what it would have given.
 */
#include "profile_folder.h"
#include "synthetic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---------------------------------------------------------------------------- allocations that fail, by number */

/* Under a sanitizer malloc is not ours to replace. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_FAULTS 0
#else
#define HAVE_FAULTS 1
#endif

static long fail_at, allocation; /* fail_at 0: never */
static bool fail_on;             /* that one and all after it */

#if HAVE_FAULTS
static bool fails(void)
{
    if (!fail_at)
        return false;
    allocation++;
    return fail_on ? allocation >= fail_at : allocation == fail_at;
}

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t n, size_t bytes);
void *__libc_realloc(void *block, size_t bytes);

__attribute__((visibility("default"))) void *malloc(size_t bytes) { return fails() ? NULL : __libc_malloc(bytes); }
__attribute__((visibility("default"))) void *calloc(size_t n, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(n, bytes);
}
__attribute__((visibility("default"))) void *realloc(void *block, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(block, bytes);
}
#endif

static void start_failing(long at, bool on)
{
    allocation = 0;
    fail_on = on;
    fail_at = at;
}

/* Whether one has failed since start_failing. */
static bool stop_failing(void)
{
    bool failed = allocation >= fail_at;
    fail_at = 0;
    return failed;
}

/* ------------------------------------------------------------------------------------------------- a folder */

static int files_in_directory(void)
{
    int n = 0;
    DIR *d = opendir(directory);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static hl_synthetic *make(uint64_t seed, uint32_t nodes)
{
    hl_synthetic_options o = hl_synthetic_defaults;
    o.seed = seed;
    o.nodes = nodes;
    o.stats = nodes;
    o.blocks = nodes * 5;
    o.ticks = 20;
    o.codes = 12;
    o.source_directory = directory;
    hl_synthetic *s = hl_synthetic_make(&o);
    assert_non_null(s);
    return s;
}

static int64_t ask(hl_profile *profile, const char *sql)
{
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_prepare_v2(hl_profile_database(profile), sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t answer = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return answer;
}

/* Whole, and its parts add up to its totals; returns those. */
static int64_t check_file(void)
{
    hl_profile *p;
    char why[256];
    int error = hl_profile_open(&p, path, why, sizeof why);
    if (error)
        fail_msg("%s: %s", path, why);
    assert_int_equal(ask(p, "SELECT count(*) FROM pragma_quick_check WHERE quick_check <> 'ok'"), 0);
    int64_t allocated = ask(p, "SELECT value FROM meta WHERE key = 'allocated'");
    assert_int_equal(ask(p, "SELECT coalesce(sum(allocated), 0) FROM stat"), allocated);
    assert_int_equal(ask(p, "SELECT coalesce(sum(tree_peak), 0) FROM stat"),
                     ask(p, "SELECT value FROM meta WHERE key = 'peak'"));
    assert_int_equal(ask(p, "SELECT count(*) FROM stat WHERE stack NOT IN (SELECT id FROM stack)"), 0);
    assert_int_equal(ask(p, "SELECT count(*) FROM stack WHERE frame NOT IN (SELECT id FROM frame)"), 0);
    assert_int_equal(ask(p, "SELECT count(*) FROM frame WHERE function NOT IN (SELECT id FROM function)"), 0);
    assert_int_equal(ask(p, "SELECT count(*) FROM function WHERE file NOT IN (SELECT id FROM file)"), 0);
    hl_profile_close(p);
    return allocated;
}

/* ------------------------------------------------------------------------------------------------- memory */

enum step { OPEN, APPLY_FIRST, PUBLISH, APPLY_COMPLETE, PUBLISH_LAST, STEPS };

static int take(enum step step, hl_profile_writer **w, const hl_synthetic *first, const hl_synthetic *second)
{
    switch (step) {
    case OPEN:
        return hl_profile_writer_open(w, path, hl_synthetic_identity(first));
    case APPLY_FIRST:
        return hl_profile_writer_apply(*w, hl_synthetic_batch(first));
    case PUBLISH:
        return hl_profile_writer_publish(*w, false);
    case APPLY_COMPLETE:
        return hl_profile_writer_apply(*w, hl_synthetic_batch(second));
    default:
        return hl_profile_writer_publish(*w, true);
    }
}

/* One run in which allocation `at` of `failing` fails; then the step is taken again. False: it has fewer allocations. */
static bool run(enum step failing, long at, bool on, const hl_synthetic *first, const hl_synthetic *second)
{
    hl_profile_writer *w = NULL;
    bool reached = false;
    for (enum step step = OPEN; step < STEPS; step++) {
        if (step == failing)
            start_failing(at, on);
        int error = take(step, &w, first, second);
        if (step != failing) {
            assert_int_equal(error, 0);
            continue;
        }
        reached = stop_failing();
        if (error) {
            if (error != -ENOMEM)
                fail_msg("step %d, allocation %ld: %d %s", step, at, error, w ? hl_profile_writer_error(w) : "");
            if (step != OPEN)
                assert_true(hl_profile_writer_error(w)[0]);
            error = take(step, &w, first, second);
            if (error)
                fail_msg("step %d again, after allocation %ld: %d %s", step, at, error, hl_profile_writer_error(w));
        }
    }
    hl_profile_writer_close(w);
    assert_int_equal(check_file(), hl_synthetic_batch(second)->meta.allocated);
    return reached;
}

static void each_allocation_of_the_writer_may_fail(void **state)
{
    (void)state;
#if !HAVE_FAULTS
    skip();
#endif
    hl_synthetic *first = make(1, 30), *second = make(2, 50);
    long runs = 0;
    for (enum step step = OPEN; step < STEPS; step++) {
        /* All of the first twenty, then further and further apart: they are of the same few kinds. */
        for (long at = 1; run(step, at, false, first, second); at += 1 + at / 20)
            runs++;
        for (long at = 1; run(step, at, true, first, second); at += 1 + at / 5)
            runs++;
    }
    assert_true(runs > 200);
    assert_int_equal(files_in_directory(), 6); /* a.heapline and five names of source files */
    hl_synthetic_free(first);
    hl_synthetic_free(second);
}

static void each_allocation_of_the_reader_may_fail(void **state)
{
    (void)state;
#if !HAVE_FAULTS
    skip();
#endif
    hl_synthetic *s = make(1, 30);
    assert_int_equal(hl_synthetic_write(s, path), 0);
    long at = 1;
    for (bool reached = true; reached; at++) {
        hl_profile *p;
        char why[256];
        start_failing(at, false);
        int error = hl_profile_open(&p, path, why, sizeof why);
        reached = stop_failing();
        if (!(error == 0 || (error == -ENOMEM && !p && why[0])))
            fail_msg("allocation %ld: %d %s", at, error, why);
        hl_profile_close(p);
    }
    assert_true(at > 20);
    hl_synthetic_free(s);
}

/* --------------------------------------------------------------------------------------------------- disk */

static void a_full_disk_leaves_the_last_profile(void **state)
{
    (void)state;
    hl_synthetic *first = make(1, 30), *second = make(2, 3000);
    hl_profile_writer *w;
    assert_int_equal(hl_profile_writer_open(&w, path, hl_synthetic_identity(first)), 0);
    assert_int_equal(hl_profile_writer_apply(w, hl_synthetic_batch(first)), 0);
    assert_int_equal(hl_profile_writer_publish(w, false), 0);
    assert_int_equal(hl_profile_writer_apply(w, hl_synthetic_batch(second)), 0);
    int files = files_in_directory();
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, small;
    getrlimit(RLIMIT_FSIZE, &limit);
    for (rlim_t room = 0; room < 200000; room += 40000) {
        small = (struct rlimit){room, limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        int error = hl_profile_writer_publish(w, room % 80000 == 0);
        setrlimit(RLIMIT_FSIZE, &limit);
        assert_int_equal(error, -EFBIG);
        assert_non_null(strstr(hl_profile_writer_error(w), "File too large"));
        assert_int_equal(check_file(), hl_synthetic_batch(first)->meta.allocated);
        assert_int_equal(files_in_directory(), files);
    }
    assert_int_equal(hl_profile_writer_publish(w, true), 0); /* there is room again */
    assert_int_equal(check_file(), hl_synthetic_batch(second)->meta.allocated);
    hl_profile_writer_close(w);
    hl_synthetic_free(first);
    hl_synthetic_free(second);
}

static void a_directory_that_is_gone_is_an_error_in_words(void **state)
{
    (void)state;
    hl_synthetic *s = make(1, 30);
    char there[128];
    hl_profile_writer *w;
    snprintf(there, sizeof there, "%s/no/such/a.heapline", directory);
    assert_int_equal(hl_profile_writer_open(&w, there, hl_synthetic_identity(s)), 0);
    assert_int_equal(hl_profile_writer_apply(w, hl_synthetic_batch(s)), 0);
    assert_int_equal(hl_profile_writer_publish(w, true), -ENOENT);
    assert_non_null(strstr(hl_profile_writer_error(w), "No such file"));
    hl_profile_writer_close(w);
    hl_synthetic_free(s);
}

/* --------------------------------------------------------------------------------------------------- death */

/* What heapline itself left beside the profile. `age`: as if it had been there for some time. */
static int leftovers(bool age)
{
    int n = 0;
    DIR *d = opendir(directory);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (!strstr(e->d_name, ".partial"))
            continue;
        n++;
        const struct timespec then[2] = {{.tv_sec = time(NULL) - 60}, {.tv_sec = time(NULL) - 60}};
        if (age)
            assert_int_equal(utimensat(dirfd(d), e->d_name, then, 0), 0);
    }
    closedir(d);
    return n;
}

static bool names_only; /* as a file system where a file without a name is never given one */
__attribute__((visibility("default"))) int linkat(int from, const char *old, int to, const char *new, int flags)
{
    if (names_only) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_linkat, from, old, to, new, flags);
}

static bool slow; /* so that many deaths fall between a file's name and its place */
__attribute__((visibility("default"))) int rename(const char *old, const char *new)
{
    if (slow)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return (int)syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

static void publish_for_ever(const hl_synthetic *first, const hl_synthetic *second)
{
    hl_profile_writer *w;
    if (hl_profile_writer_open(&w, path, hl_synthetic_identity(first)) != 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        if (hl_profile_writer_apply(w, hl_synthetic_batch(i % 2 ? second : first)) != 0 ||
            hl_profile_writer_publish(w, i % 5 == 4) != 0)
            _exit(1);
    }
}

static void killed_at_any_moment_the_file_is_whole(void **state)
{
    (void)state;
    hl_synthetic *first = make(1, 100), *second = make(2, 3000);
    assert_int_equal(hl_synthetic_write(first, path), 0);
    srand(1);
    int left = 0;
    for (int i = 0; i < 60; i++) {
        names_only = i >= 30;
        slow = i % 3 == 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            publish_for_ever(first, second);
        struct timespec wait = {.tv_nsec = 1000000L * (rand() % 40) + rand() % 1000000};
        nanosleep(&wait, NULL);
        for (int k = 0; slow && k < 2000 && leftovers(false) == 0; k++) /* right in between */
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status)); /* else a publish failed */
        int64_t allocated = check_file();
        assert_true(allocated == (int64_t)hl_synthetic_batch(first)->meta.allocated ||
                    allocated == (int64_t)hl_synthetic_batch(second)->meta.allocated);
        left += leftovers(true);
        hl_profile_writer *w; /* the next recording */
        assert_int_equal(hl_profile_writer_open(&w, path, hl_synthetic_identity(first)), 0);
        assert_int_equal(leftovers(false), 0);
        hl_profile_writer_close(w);
    }
    assert_true(left > 0); /* else this shows nothing */
    names_only = slow = false;
    hl_synthetic_free(first);
    hl_synthetic_free(second);
}

/* A publish that is at work, a file that only looks like ours by its name, and one of just now. */
static void what_is_not_left_over_stays(void **state)
{
    (void)state;
    hl_synthetic *s = make(1, 30);
    char name[128];
    static const char *const names[] = {"heapline-aaaaaa.partial", "heapline-bbbbbb.partial", "heapline-cccccc.partial",
                                        "heapline-dddddd.partial", "heapline-eeeeee.partial", "heapline-ffffff.part"};
    enum { LOCKED, OTHER, OLD, BEGUN, RECENT, NAME, FILES };
    int fd[FILES];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "%s/%s", directory, names[i]);
        fd[i] = open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        assert_true(fd[i] >= 0);
        size_t bytes = i == BEGUN ? 0 : 16;
        assert_int_equal(write(fd[i], i == OTHER ? "somebody's notes" : "SQLite format 3", bytes), bytes);
        const struct timespec then[2] = {{.tv_sec = time(NULL) - 60}, {.tv_sec = time(NULL) - 60}};
        if (i != RECENT)
            assert_int_equal(futimens(fd[i], then), 0);
    }
    assert_int_equal(flock(fd[LOCKED], LOCK_EX), 0);
    hl_profile_writer *w;
    assert_int_equal(hl_profile_writer_open(&w, path, hl_synthetic_identity(s)), 0);
    hl_profile_writer_close(w);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "%s/%s", directory, names[i]);
        bool gone = i == OLD || i == BEGUN;
        assert_int_equal(access(name, F_OK), gone ? -1 : 0);
        unlink(name);
        close(fd[i]);
    }
    hl_synthetic_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_the_writer_may_fail),
        cmocka_unit_test(each_allocation_of_the_reader_may_fail),
        cmocka_unit_test(a_full_disk_leaves_the_last_profile),
        cmocka_unit_test(a_directory_that_is_gone_is_an_error_in_words),
        cmocka_unit_test(killed_at_any_moment_the_file_is_whole),
        cmocka_unit_test(what_is_not_left_over_stays),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
