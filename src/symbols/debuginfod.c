/*
 * debuginfod.c - debug information from the servers that the user named in DEBUGINFOD_URLS, when asked to (--debuginfod).
 * Runs in the worker. libdebuginfod is loaded only then, and is no dependency.
 */
#include "object.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

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
} waiting;

/* libdebuginfod passes its progress function nothing but the client. Its data function is looked up again rather than kept
 * in a global variable. */
static int show_progress(debuginfod_client *client, long done, long all)
{
    void *(*get_data)(debuginfod_client *);
    void *found = dlsym(RTLD_DEFAULT, "debuginfod_get_user_data");
    *(void **)&get_data = found;
    const waiting *w = found ? get_data(client) : NULL;
    if (w)
        w->alive(w->context);
    return 0; /* go on */
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

char *hl_debuginfod_find(const char *build_id, void (*alive)(void *), void *context)
{
    const char *urls = getenv("DEBUGINFOD_URLS");
    library l = {0};
    if (!urls || !*urls || !load(&l))
        return NULL;
    debuginfod_client *client = l.begin();
    if (!client)
        return NULL;
    waiting w = {alive, context};
    char *path = NULL;
    if (alive) {
        l.set_data(client, &w);
        l.set_progress(client, show_progress);
    }
    int fd = l.find(client, (const unsigned char *)build_id, 0, &path); /* 0 bytes: the id is hexadecimal text */
    l.end(client);
    if (fd < 0)
        return NULL;
    close(fd);
    return path;
}
