/*
 * debuginfod.c - debug information from the servers that the user named in DEBUGINFOD_URLS, when asked to (--debuginfod).
 * Runs in the worker. libdebuginfod is loaded only then, and is no dependency.
 *
 * A server that is there but says nothing is given up after 15 seconds, or after DEBUGINFOD_TIMEOUT if that is less: the
 * user waits for the end of a run, and each of many objects would be asked for.
 */
#include "object.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_S = 15 };

typedef struct debuginfod_client debuginfod_client;
typedef int progress(debuginfod_client *, long, long);

typedef struct library {
    debuginfod_client *(*begin)(void);
    void (*end)(debuginfod_client *);
    int (*find)(debuginfod_client *, const unsigned char *, int, char **);
    void (*set_progress)(debuginfod_client *, progress *);
    void (*set_data)(debuginfod_client *, void *);
} library;

typedef struct waiting {
    void (*alive)(void *);
    void *context;
    time_t until_s; /* for an answer to begin */
    bool hangs;
} waiting;

static time_t now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* libdebuginfod passes its progress function nothing but the client. Its data function is looked up again rather than kept
 * in a global variable. `all` is known once a server has answered. */
static int show_progress(debuginfod_client *client, long done, long all)
{
    void *(*get_data)(debuginfod_client *);
    void *found = dlsym(RTLD_DEFAULT, "debuginfod_get_user_data");
    *(void **)&get_data = found;
    waiting *w = found ? get_data(client) : NULL;
    if (!w)
        return 0; /* go on */
    if (w->alive)
        w->alive(w->context);
    w->hangs = all <= 0 && now_s() > w->until_s;
    return w->hangs;
}

static bool load(library *l)
{
    /* Its names go into the global scope for show_progress. */
    void *handle = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!handle)
        return false;
    *(void **)&l->begin = dlsym(handle, "debuginfod_begin");
    *(void **)&l->end = dlsym(handle, "debuginfod_end");
    *(void **)&l->find = dlsym(handle, "debuginfod_find_debuginfo");
    *(void **)&l->set_progress = dlsym(handle, "debuginfod_set_progressfn");
    *(void **)&l->set_data = dlsym(handle, "debuginfod_set_user_data");
    return l->begin && l->end && l->find && l->set_progress && l->set_data;
}

static long patience_s(void)
{
    const char *given = getenv("DEBUGINFOD_TIMEOUT");
    long seconds = given ? strtol(given, NULL, 10) : 0;
    return seconds > 0 && seconds < ANSWER_S ? seconds : ANSWER_S;
}

char *hl_debuginfod_find(const char *build_id, void (*alive)(void *), void *context, bool *hangs)
{
    const char *urls = getenv("DEBUGINFOD_URLS");
    library l = {0};
    if (!urls || !*urls || !load(&l))
        return NULL;
    debuginfod_client *client = l.begin();
    if (!client)
        return NULL;
    waiting w = {.alive = alive, .context = context, .until_s = now_s() + patience_s()};
    char *path = NULL;
    l.set_data(client, &w);
    l.set_progress(client, show_progress);
    int fd = l.find(client, (const unsigned char *)build_id, 0, &path); /* 0 bytes: the id is hexadecimal text */
    l.end(client);
    *hangs = w.hangs || fd == -ETIME || fd == -ECONNREFUSED || fd == -EHOSTUNREACH;
    if (fd < 0)
        return NULL;
    close(fd);
    return path;
}

const char *hl_symbols_no_servers(void)
{
    const char *urls = getenv("DEBUGINFOD_URLS");
    int ends[2];
    char loaded = 0;
    if (!urls || !*urls)
        return "DEBUGINFOD_URLS is not set (it names the servers to ask: debuginfod(8))";
    if (pipe(ends))
        return NULL;
    pid_t child = fork();
    if (child == 0) {
        library l = {0};
        _exit(load(&l) && write(ends[1], "1", 1) == 1 ? 0 : 1);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &loaded, 1) < 0)
        loaded = 1; /* cannot tell */
    close(ends[0]);
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    return loaded ? NULL
                  : "libdebuginfod.so.1 is not installed (package libdebuginfod1, or elfutils-debuginfod-client)";
}
