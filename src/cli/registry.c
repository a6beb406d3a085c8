/* registry.c - see registry.h. */
#include "registry.h"

#include "options.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PLACES = 2, FILE_BYTES = 8192, LOCK_LIMIT_MS = 2000 };

/* The two places where a registry may be; the first may be missing (0). */
static bool place(unsigned i, char folder[PATH_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (i == 0)
        return runtime != NULL && runtime[0] == '/' && snprintf(folder, PATH_MAX, "%s/heapline", runtime) < PATH_MAX;
    return snprintf(folder, PATH_MAX, "/tmp/heapline-%u", (unsigned)geteuid()) < PATH_MAX;
}

/* Opens a registry folder that nobody else can have put there or can write to. */
static int open_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct stat found;
    if (fstat(fd, &found) != 0 || found.st_uid != geteuid() || (found.st_mode & 077) != 0) {
        close(fd);
        return -EPERM;
    }
    return fd;
}

static int open_for_writing(char folder[PATH_MAX])
{
    int error = -ENOENT;
    for (unsigned i = 0; i < PLACES; i++) {
        if (!place(i, folder))
            continue;
        if (mkdir(folder, 0700) != 0 && errno != EEXIST) {
            error = -errno;
            continue;
        }
        int fd = open_folder(folder);
        if (fd >= 0)
            return fd;
        error = fd;
    }
    return error;
}

int hl_registry_folder(char folder[PATH_MAX])
{
    int fd = open_for_writing(folder);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int hl_registry_lock(void)
{
    char folder[PATH_MAX];
    int fd = open_for_writing(folder);
    for (int waited_ms = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && waited_ms < LOCK_LIMIT_MS; waited_ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return fd;
}

void hl_registry_unlock(int lock)
{
    if (lock < 0)
        return;
    flock(lock, LOCK_UN); /* for a forked collector's copy of the descriptor too */
    close(lock);
}

int hl_registry_add(const hl_recorded *r)
{
    char folder[PATH_MAX], name[32], hidden[32], text[FILE_BYTES], command[sizeof r->command];
    strcpy(command, r->command);
    for (char *c = command; *c != '\0'; c++) {
        if (*c == '\n')
            *c = ' '; /* one line an item */
    }
    int n = snprintf(text, sizeof text, "collector %d\nprogram %d\nstart %lld\nlocator %s\noutput %s\ncommand %s\n",
                     (int)r->collector, (int)r->program, (long long)r->start_unix_ns, r->locator, r->output, command);
    if (n >= (int)sizeof text || strchr(r->output, '\n') != NULL)
        return -EINVAL;
    int at = open_for_writing(folder);
    if (at < 0)
        return at;
    snprintf(name, sizeof name, "%d", (int)r->collector);
    snprintf(hidden, sizeof hidden, ".%d", (int)r->collector);
    int fd = openat(at, hidden, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int error = fd < 0 ? -errno : 0;
    if (error == 0 && write(fd, text, (size_t)n) != n)
        error = -EIO;
    if (fd >= 0)
        close(fd);
    if (error == 0 && renameat(at, hidden, at, name) != 0)
        error = -errno;
    close(at);
    return error;
}

void hl_registry_remove(pid_t collector)
{
    char folder[PATH_MAX], name[32];
    snprintf(name, sizeof name, "%d", (int)collector);
    for (unsigned i = 0; i < PLACES; i++) {
        int at = place(i, folder) ? open_folder(folder) : -1;
        if (at < 0)
            continue;
        unlinkat(at, name, 0);
        close(at);
    }
}

/* The rest of the line that begins with `key` and a blank. */
static bool item(const char *text, const char *key, char *value, size_t bytes)
{
    size_t letters = strlen(key);
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        if (length > letters && strncmp(line, key, letters) == 0 && line[letters] == ' ') {
            if (length - letters - 1 >= bytes)
                return false;
            memcpy(value, line + letters + 1, length - letters - 1);
            value[length - letters - 1] = '\0';
            return true;
        }
        line += length + (line[length] == '\n');
    }
    return false;
}

static bool read_entry(int folder, const char *name, hl_recorded *r)
{
    char text[FILE_BYTES], number[32];
    int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    memset(r, 0, sizeof *r);
    if (!item(text, "collector", number, sizeof number))
        return false;
    r->collector = atoi(number);
    if (item(text, "program", number, sizeof number))
        r->program = atoi(number);
    if (item(text, "start", number, sizeof number))
        r->start_unix_ns = atoll(number);
    item(text, "command", r->command, sizeof r->command);
    return r->collector > 0 && item(text, "locator", r->locator, sizeof r->locator) &&
           item(text, "output", r->output, sizeof r->output);
}

/* Maps the session of a collector that is alive; null when it has gone. */
static hl_session *map_session(const hl_recorded *r, size_t *bytes)
{
    int fd = open(r->locator, O_RDWR | O_CLOEXEC);
    struct stat found;
    if (fd < 0)
        return NULL;
    hl_session *s = MAP_FAILED;
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && found.st_size >= HL_CHUNKS_AT) {
        *bytes = (size_t)found.st_size;
        s = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    close(fd);
    if (s == MAP_FAILED)
        return NULL;
    if (s->magic == HL_WIRE_MAGIC && s->version == HL_WIRE_VERSION && s->collector_pid == (uint32_t)r->collector)
        return s;
    munmap(s, *bytes);
    return NULL;
}

int hl_registry_each(int (*each)(const hl_recorded *recorded, hl_session *session, void *context), void *context)
{
    int answer = 0;
    for (unsigned i = 0; i < PLACES && answer == 0; i++) {
        char folder[PATH_MAX];
        int at = place(i, folder) ? open_folder(folder) : -1;
        DIR *list = at < 0 ? NULL : fdopendir(dup(at));
        for (struct dirent *e; list != NULL && answer == 0 && (e = readdir(list)) != NULL;) {
            hl_recorded r;
            size_t bytes;
            if (e->d_name[0] < '1' || e->d_name[0] > '9' || !read_entry(at, e->d_name, &r))
                continue;
            hl_session *session = map_session(&r, &bytes);
            if (session != NULL) {
                answer = each(&r, session, context);
                munmap(session, bytes);
            } else if (kill(r.collector, 0) != 0 && errno == ESRCH)
                unlinkat(at, e->d_name, 0);
        }
        if (list != NULL)
            closedir(list);
        if (at >= 0)
            close(at);
    }
    return answer;
}

/* Its folder without links, and the last part of the name. The file itself need not be there. */
static bool resolve(const char *path, char resolved[2 * PATH_MAX])
{
    char folder[PATH_MAX], real[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *last = slash != NULL ? slash + 1 : path;
    int n = snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - path) + 1 : 1, slash ? path : ".");
    if (n >= (int)sizeof folder || realpath(folder, real) == NULL)
        return false;
    snprintf(resolved, 2 * PATH_MAX, "%s/%s", strcmp(real, "/") == 0 ? "" : real, last);
    return true;
}

bool hl_is_same_file(const char *a, const char *b)
{
    struct stat found_a, found_b;
    if (stat(a, &found_a) == 0 && stat(b, &found_b) == 0 && found_a.st_dev == found_b.st_dev &&
        found_a.st_ino == found_b.st_ino)
        return true;
    char real_a[2 * PATH_MAX], real_b[2 * PATH_MAX]; /* also while one of them is being replaced */
    return resolve(a, real_a) && resolve(b, real_b) && strcmp(real_a, real_b) == 0;
}

hl_recording_name hl_recording_named(const char *word)
{
    hl_recording_name name = {.word = word};
    if (hl_parse_number(word, &name.pid) != 0)
        name.pid = 0;
    return name;
}

static bool has_process(hl_session *s, uint64_t pid)
{
    uint32_t used = atomic_load(&s->processes_used);
    for (uint32_t i = 0; i < used && i < HL_MAX_PROCESSES; i++) {
        hl_wire_process *p = hl_session_process(s, i);
        if (atomic_load(&p->state) == HL_PROCESS_RUNNING && (uint64_t)p->pid == pid)
            return true;
    }
    return false;
}

bool hl_recording_is(const hl_recorded *r, hl_session *s, const hl_recording_name *name)
{
    if (hl_is_same_file(name->word, r->output))
        return true;
    return name->pid != 0 &&
           ((uint64_t)r->program == name->pid || (uint64_t)r->collector == name->pid || has_process(s, name->pid));
}
