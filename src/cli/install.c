/* install.c - see install.h. */
#include "install.h"

#include "registry.h"

#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_file(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISREG(found.st_mode);
}

/* Where a build and the installations have the library, seen from the binary's folder. */
static bool find_tracker(const char *folder, char path[PATH_MAX])
{
    static const char *const places[] = {"libheapline.so", "../lib/heapline/libheapline.so",
                                         "../lib/*-linux-*/heapline/libheapline.so", "../lib64/heapline/libheapline.so",
                                         "../lib/libheapline.so"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char pattern[PATH_MAX];
        if (snprintf(pattern, sizeof pattern, "%s/%s", folder, places[i]) >= (int)sizeof pattern)
            continue;
        glob_t found;
        bool there = glob(pattern, GLOB_NOSORT, NULL, &found) == 0 && found.gl_pathc > 0 &&
                     is_file(found.gl_pathv[0]) && realpath(found.gl_pathv[0], path) != NULL;
        globfree(&found);
        if (there)
            return true;
    }
    return false;
}

/* LD_PRELOAD separates by blanks and colons and expands $, with no way to quote: such a path gets a link that has none. */
static int make_preloadable(char path[PATH_MAX])
{
    if (strpbrk(path, " :$") == NULL)
        return 0;
    struct stat library;
    char link[PATH_MAX], folder[PATH_MAX], now[PATH_MAX];
    if (stat(path, &library) != 0)
        return -errno;
    int error = hl_registry_folder(folder);
    if (error)
        return error;
    if (snprintf(link, sizeof link, "%s/libheapline-%llx-%llx.so", folder, (unsigned long long)library.st_dev,
                 (unsigned long long)library.st_ino) >= (int)sizeof link)
        return -ENAMETOOLONG;
    ssize_t n = readlink(link, now, sizeof now - 1);
    if (n < 0 || (size_t)n != strlen(path) || memcmp(now, path, (size_t)n) != 0) {
        unlink(link);
        if (symlink(path, link) != 0 && errno != EEXIST)
            return -errno;
    }
    strcpy(path, link);
    return strpbrk(path, " :$") == NULL ? 0 : -EINVAL;
}

int hl_install_find(hl_install *install)
{
    ssize_t n = readlink("/proc/self/exe", install->binary, sizeof install->binary - 1);
    if (n < 0)
        return -errno;
    install->binary[n] = '\0';
    char folder[PATH_MAX];
    strcpy(folder, install->binary);
    *strrchr(folder, '/') = '\0';
    if (!find_tracker(folder, install->tracker))
        return -ENOENT;
    return make_preloadable(install->tracker);
}

static int executable(const char *path)
{
    struct stat found;
    if (stat(path, &found) != 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    return S_ISREG(found.st_mode) && access(path, X_OK) == 0 ? 0 : -EACCES;
}

/* Absolute, but not resolved: a venv's python3 is a link and finds its venv by its own name. */
static int absolute(const char *path, char out[PATH_MAX])
{
    char here[PATH_MAX] = "";
    if (path[0] != '/' && getcwd(here, sizeof here) == NULL)
        return -errno;
    int n = snprintf(out, PATH_MAX, "%s%s%s", here, here[0] ? "/" : "", path);
    return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int hl_executable_find(const char *name, char path[PATH_MAX])
{
    if (name[0] == '\0')
        return -ENOENT;
    if (strchr(name, '/') != NULL) {
        int error = executable(name);
        return error ? error : absolute(name, path);
    }
    const char *folders = getenv("PATH");
    if (folders == NULL)
        folders = "/usr/local/bin:/usr/bin:/bin";
    int worst = -ENOENT;
    for (const char *at = folders; at != NULL; at = strchr(at, ':')) {
        at += *at == ':' && at != folders;
        char candidate[PATH_MAX];
        int length = (int)strcspn(at, ":");
        if (snprintf(candidate, sizeof candidate, "%.*s/%s", length ? length : 1, length ? at : ".", name) <
            (int)sizeof candidate) {
            int error = executable(candidate);
            if (error == 0)
                return absolute(candidate, path);
            if (error == -EACCES)
                worst = error;
        }
        if (at[length] == '\0')
            break;
    }
    return worst;
}

static bool system_folder(const char *folder)
{
    static const char *const names[] = {"/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin", "/usr/local/sbin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(folder, names[i]) == 0)
            return true;
    }
    return false;
}

static bool python_beside(const char *program, char path[PATH_MAX])
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", program);
    char *slash = strrchr(folder, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    if (system_folder(folder))
        return false;
    return snprintf(path, PATH_MAX, "%s/python3", folder) < PATH_MAX && executable(path) == 0;
}

int hl_python_find(const char *called_as, char path[PATH_MAX])
{
    char called[PATH_MAX];
    if (hl_executable_find(called_as, called) == 0 && python_beside(called, path))
        return 0;
    ssize_t n = readlink("/proc/self/exe", called, sizeof called - 1);
    if (n > 0) {
        called[n] = '\0';
        if (python_beside(called, path))
            return 0;
    }
    int error = hl_executable_find("python3", path);
    return error == 0 ? 0 : hl_executable_find("python", path);
}
