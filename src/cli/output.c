/* output.c - see output.h. */
#include "output.h"

#include "error.h"
#include "registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct text {
    char *at;
    size_t used;
    bool full;
} text;

static void put(text *to, const char *what)
{
    size_t bytes = strlen(what);
    if (to->used + bytes >= PATH_MAX) {
        to->full = true;
        return;
    }
    memcpy(to->at + to->used, what, bytes + 1);
    to->used += bytes;
}

/* A value from outside becomes a part of a file's name: no slashes. */
static void put_name(text *to, const char *what)
{
    char name[256];
    snprintf(name, sizeof name, "%s", what);
    for (char *c = name; *c != '\0'; c++) {
        if (*c == '/')
            *c = '_';
    }
    put(to, name);
}

static const char *rank(void)
{
    static const char *const names[] = {"PMI_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value != NULL && value[0] != '\0')
            return value;
    }
    return "0";
}

static int put_pattern(text *to, const char *pattern, pid_t pid)
{
    char pid_text[16], host[256] = "";
    snprintf(pid_text, sizeof pid_text, "%d", (int)pid);
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '%') {
            put(to, (char[]){*pattern, '\0'});
            continue;
        }
        switch (*++pattern) {
        case 'p':
            put(to, pid_text);
            break;
        case 'h':
            gethostname(host, sizeof host - 1);
            put_name(to, host);
            break;
        case 'r':
            put_name(to, rank());
            break;
        case '%':
            put(to, "%");
            break;
        default:
            return -EINVAL;
        }
    }
    return 0;
}

int hl_output_expand(const char *pattern, const char *stem, pid_t pid, char path[PATH_MAX])
{
    text to = {.at = path};
    path[0] = '\0';
    if (pattern == NULL || pattern[0] != '/') {
        char here[PATH_MAX];
        if (getcwd(here, sizeof here) == NULL)
            return -errno;
        put(&to, here);
        if (strcmp(here, "/") != 0)
            put(&to, "/");
    }
    int error = pattern != NULL ? put_pattern(&to, pattern, pid) : 0;
    if (error)
        return error;
    struct stat found;
    if (pattern == NULL || (!to.full && stat(path, &found) == 0 && S_ISDIR(found.st_mode))) {
        char pid_text[32];
        if (to.used > 0 && path[to.used - 1] != '/')
            put(&to, "/");
        put_name(&to, stem);
        snprintf(pid_text, sizeof pid_text, ".%d.heapline", (int)pid);
        put(&to, pid_text);
    }
    return to.full ? -ENAMETOOLONG : 0;
}

bool hl_output_can_clash(const char *pattern) { return pattern != NULL && strstr(pattern, "%p") == NULL; }

static int refuse(int error, char *why, size_t why_bytes, const char *what)
{
    snprintf(why, why_bytes, "%s", what);
    return error;
}

/* The folder is asked by making a file in it, for that is what has to work. */
static int check_folder(const char *path, char *why, size_t why_bytes)
{
    char probe[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int folder = slash == path ? 1 : (int)(slash - path);
    if (slash[1] == '\0')
        return refuse(-EISDIR, why, why_bytes, "this names a folder that does not exist");
    if (snprintf(probe, sizeof probe, "%.*s/.heapline-XXXXXX", folder, path) >= (int)sizeof probe)
        return refuse(-ENAMETOOLONG, why, why_bytes, "the name is too long");
    int fd = mkostemp(probe, O_CLOEXEC);
    if (fd < 0) {
        int error = errno;
        struct stat found;
        probe[folder] = '\0';
        if (error != ENOENT)
            snprintf(why, why_bytes, "the folder %s: %s (-o names another place)", probe, hl_error_text(error));
        else if (stat(probe, &found) == 0 && S_ISDIR(found.st_mode)) /* /proc */
            snprintf(why, why_bytes, "no file can be made in the folder %s (-o names another place)", probe);
        else
            snprintf(why, why_bytes, "the folder %s does not exist", probe);
        return -error;
    }
    close(fd);
    unlink(probe);
    return 0;
}

typedef struct asked {
    const char *path;
    char *why;
    size_t why_bytes;
} asked;

static int writes_it(const hl_recorded *r, hl_session *session, void *context)
{
    const asked *a = context;
    (void)session;
    if (!hl_is_same_file(a->path, r->output))
        return 0;
    snprintf(a->why, a->why_bytes, "a running recording writes this file: pid %d, %.200s (-o names another)",
             (int)r->program, r->command);
    return -EBUSY;
}

int hl_output_check(char path[PATH_MAX], bool force, char *why, size_t why_bytes)
{
    struct stat found;
    asked a = {path, why, why_bytes};
    if (lstat(path, &found) == 0) {
        if (S_ISLNK(found.st_mode) && stat(path, &found) == 0) {
            char target[PATH_MAX];
            if (realpath(path, target) != NULL)
                strcpy(path, target);
        }
        if (S_ISDIR(found.st_mode))
            return refuse(-EISDIR, why, why_bytes, "is a folder");
        if (!S_ISREG(found.st_mode) && !S_ISLNK(found.st_mode))
            return refuse(-EINVAL, why, why_bytes, "is not a regular file");
        int busy = hl_registry_each(writes_it, &a);
        if (busy)
            return busy;
        if (!force)
            return refuse(-EEXIST, why, why_bytes, "exists already (-f overwrites it, -o names another)");
    } else if (errno != ENOENT) {
        snprintf(why, why_bytes, "%s", hl_error_text(errno));
        return -errno;
    }
    int error = check_folder(path, why, why_bytes);
    return error ? error : hl_registry_each(writes_it, &a);
}
