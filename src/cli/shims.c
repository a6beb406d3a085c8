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

/* The command as a script that a shell runs. 0, or an errno code below zero. */
static int put_command(const char *path)
{
    char binary[PATH_MAX], quoted[2 * PATH_MAX], script[2 * PATH_MAX + 64], first[128];
    ssize_t n = readlink("/proc/self/exe", binary, sizeof binary - 1);
    if (n < 0)
        return -errno;
    binary[n] = '\0';
    hl_join_words(quoted, sizeof quoted, (char *[]){binary, NULL});
    snprintf(script, sizeof script, "exec %s mprof \"$@\"\n", quoted);
    snprintf(first, sizeof first, "#!/bin/sh\n%s", mark);
    return put(path, first, script, 0755);
}

static int install(const char *folder, bool force)
{
    static const char *const folders[] = {"", "/bin", "/memory_profiler"};
    static const char command_name[] = "bin/mprof", former_name[] = "memory_profiler.py";
    char path[PATH_MAX];
    if (strlen(folder) > PATH_MAX - 64) {
        hl_error("install-shims: %s: %s", folder, hl_error_text(ENAMETOOLONG));
        return HL_EXIT_CHECK_FAILED;
    }
    const char *names[64] = {command_name, former_name};
    int n = 2;
    for (const hl_python_file *file = hl_python_files; file->name != NULL && n < 64; file++)
        names[n++] = file->name;
    for (int i = 0; i < n && !force; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (is_foreign(path)) {
            hl_error("install-shims: %s: there is such a file, and it is not heapline's (--force overwrites it)", path);
            return HL_EXIT_CHECK_FAILED;
        }
    }
    int error = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders && error == 0; i++) {
        snprintf(path, sizeof path, "%s%s", folder, folders[i]);
        error = make_folder(path);
    }
    for (const hl_python_file *file = hl_python_files; file->name != NULL && error == 0; file++) {
        snprintf(path, sizeof path, "%s/%s", folder, file->name);
        error = put(path, mark, file->text, 0644);
    }
    if (error == 0) {
        snprintf(path, sizeof path, "%s/%s", folder, former_name); /* what the package takes the place of */
        unlink(path);
        snprintf(path, sizeof path, "%s/%s", folder, command_name);
        error = put_command(path);
    }
    if (error) {
        hl_error("install-shims: %s: %s", path, hl_error_text(error));
        return HL_EXIT_CHECK_FAILED;
    }
    printf("%s/memory_profiler\n%s/mprof.py\n%s/%s\n", folder, folder, folder, command_name);
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
