/*
 * shims.c - `heapline install-shims`: modules named memory_profiler and mprof, and a command mprof, in a folder, so that
 * programs which were written for memory_profiler run with heapline's unchanged.
 */
#include "cli.h"

#include "install.h"
#include "mprof.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct shim_options {
    bool force;
} shim_options;

static const hl_option options[] = {
    {.name = "force",
     .letter = 'f',
     .kind = HL_OPTION_FLAG,
     .help = "overwrite files that heapline has not made",
     HL_SETS(shim_options, force)},
    {0},
};

static const hl_syntax syntax = {
    .name = "install-shims",
    .usage = "[--force] DIR",
    .summary = "Puts modules named memory_profiler and mprof, and a command bin/mprof, into DIR.",
    .description =
        "With DIR on PYTHONPATH, and DIR/bin on PATH, programs written for memory_profiler use heapline's\n"
        "(docs/memory-profiler.md says what they find). The files need nothing else of heapline but its command.",
    .options = options,
};

static const char mark[] = "# Made by heapline install-shims.\n";

/* Whether a file is there that we have not made. */
static bool is_foreign(const char *path)
{
    char head[256] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, head, sizeof head - 1);
    close(fd);
    return n < 0 || strstr(head, mark) == NULL;
}

/* Written beside and renamed, so that no program reads a half one. */
static int put(const char *path, const char *first, const char *second, mode_t mode)
{
    char beside[PATH_MAX + 8];
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *file = fopen(beside, "we");
    if (file == NULL)
        return -errno;
    fputs(first, file);
    fputs(second, file);
    int error = ferror(file) || fchmod(fileno(file), mode) != 0 ? -errno : 0;
    if (fclose(file) != 0 && error == 0)
        error = -errno;
    if (error == 0 && rename(beside, path) != 0)
        error = -errno;
    if (error)
        unlink(beside);
    return error;
}

static int make_folder(const char *path) { return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : -errno; }

static int install(const char *folder, bool force)
{
    char binary[PATH_MAX], quoted[2 * PATH_MAX], script[2 * PATH_MAX + 256], path[3][PATH_MAX], bin[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", binary, sizeof binary - 1);
    if (n < 0) {
        hl_error("install-shims: where heapline itself is cannot be told: %s", hl_error_text(errno));
        return HL_EXIT_CHECK_FAILED;
    }
    binary[n] = '\0';
    hl_join_words(quoted, sizeof quoted, (char *[]){binary, NULL});
    snprintf(script, sizeof script, "exec %s mprof \"$@\"\n", quoted);
    if (strlen(folder) > PATH_MAX - 32) {
        hl_error("install-shims: %s: %s", folder, hl_error_text(ENAMETOOLONG));
        return HL_EXIT_CHECK_FAILED;
    }
    sprintf(bin, "%s/bin", folder);
    sprintf(path[0], "%s/memory_profiler.py", folder);
    sprintf(path[1], "%s/mprof.py", folder);
    sprintf(path[2], "%s/bin/mprof", folder);
    for (int i = 0; i < 3 && !force; i++) {
        if (is_foreign(path[i])) {
            hl_error("install-shims: %s: there is such a file, and it is not heapline's (--force overwrites it)",
                     path[i]);
            return HL_EXIT_CHECK_FAILED;
        }
    }
    int error = make_folder(folder);
    error = error ? error : make_folder(bin);
    error = error ? error : put(path[0], mark, hl_memory_profiler_py, 0644);
    error = error ? error : put(path[1], mark, hl_mprof_py, 0644);
    char first[128];
    snprintf(first, sizeof first, "#!/bin/sh\n%s", mark);
    error = error ? error : put(path[2], first, script, 0755);
    if (error) {
        hl_error("install-shims: %s: %s", folder, hl_error_text(error));
        return HL_EXIT_CHECK_FAILED;
    }
    for (int i = 0; i < 3; i++)
        printf("%s\n", path[i]);
    return fflush(stdout) == 0 || errno == EPIPE ? HL_EXIT_OK : HL_EXIT_USAGE;
}

int hl_cmd_install_shims(int argc, char **argv)
{
    shim_options o = {0};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status >= 0)
        return status;
    if (argc != 1)
        return hl_options_mistake(&syntax, argc == 0 ? "a folder must be given" : "one folder at a time");
    return install(argv[0], o.force);
}
