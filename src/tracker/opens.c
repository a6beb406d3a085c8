/*
 * opens.c - dlopen, as it is called through a patched slot: the new objects are patched before it returns.
 *
 * dlopen looks at who calls it: a name without a slash is searched in that object's own folders (RPATH, RUNPATH), and $ORIGIN
 * means its folder. The caller is ours, so both are done here, and the loader gets a path. Nothing else about dlopen depends on
 * its caller in the program's own namespace.
 */
#include "patch.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

/* The object that contains the call. */
typedef struct caller {
    const char *rpath, *runpath; /* NULL: none */
    char folder[PATH_MAX];
} caller;

static const char ORIGIN[] = "ORIGIN", BRACED[] = "{ORIGIN}";

static bool find_caller(caller *c, const void *code)
{
    Dl_info info;
    struct link_map *map = NULL;
    if (!dladdr1(code, &info, (void **)&map, RTLD_DL_LINKMAP) || !map || !map->l_ld)
        return false;
    *c = (caller){0};
    const char *strings = NULL;
    const ElfW(Dyn) *rpath = NULL, *runpath = NULL;
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_STRTAB)
            strings = (const char *)(d->d_un.d_ptr < map->l_addr ? map->l_addr + d->d_un.d_ptr : d->d_un.d_ptr);
        else if (d->d_tag == DT_RPATH)
            rpath = d;
        else if (d->d_tag == DT_RUNPATH)
            runpath = d;
    }
    if (strings && runpath)
        c->runpath = strings + runpath->d_un.d_val;
    else if (strings && rpath)
        c->rpath = strings + rpath->d_un.d_val;
    if (map->l_name && *map->l_name) {
        strncpy(c->folder, map->l_name, sizeof c->folder - 1);
    } else {
        long n =
            hl_os_call(SYS_readlinkat, AT_FDCWD, (long)"/proc/self/exe", (long)c->folder, sizeof c->folder - 1, 0, 0);
        c->folder[n > 0 ? n : 0] = '\0';
    }
    char *slash = strrchr(c->folder, '/');
    if (!slash)
        return false;
    *(slash == c->folder ? slash + 1 : slash) = '\0';
    return true;
}

/* `length` characters of a path, $ORIGIN replaced; its length, or 0: too long. */
static size_t expand(const caller *c, const char *from, size_t length, char to[PATH_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < length;) {
        const char *at = from + i;
        size_t left = length - i, skip = 0;
        if (*at == '$' && left > sizeof BRACED - 1 && memcmp(at + 1, BRACED, sizeof BRACED - 1) == 0)
            skip = sizeof BRACED;
        else if (*at == '$' && left > sizeof ORIGIN - 1 && memcmp(at + 1, ORIGIN, sizeof ORIGIN - 1) == 0)
            skip = sizeof ORIGIN;
        size_t bytes = skip ? strlen(c->folder) : 1;
        if (n + bytes >= PATH_MAX)
            return 0;
        memcpy(to + n, skip ? c->folder : at, bytes);
        n += bytes;
        i += skip ? skip : 1;
    }
    to[n] = '\0';
    return n;
}

/* Opens the file in the first of the folders that has it; NULL: none has. */
static void *open_in(const caller *c, const char *folders, const char *file, int mode)
{
    size_t name = strlen(file);
    for (const char *at = folders; *at;) {
        char path[PATH_MAX];
        size_t length = strcspn(at, ":"), n = expand(c, at, length, path);
        at += length + (at[length] == ':');
        if (n == 0 || n + name + 2 > sizeof path)
            continue;
        path[n] = '/';
        memcpy(path + n + 1, file, name + 1);
        void *handle = hl_os_call(SYS_faccessat, AT_FDCWD, (long)path, R_OK, 0, 0, 0) == 0 ? dlopen(path, mode) : NULL;
        if (handle)
            return handle;
    }
    return NULL;
}

/* Whether the folders that come before RUNPATH have the file. */
static bool is_in_library_path(const char *file)
{
    const char *at = hl_environment_get("LD_LIBRARY_PATH");
    size_t name = strlen(file);
    while (at && *at) {
        char path[PATH_MAX];
        size_t length = strcspn(at, ":;");
        if (length + name + 2 <= sizeof path) {
            memcpy(path, at, length);
            path[length] = '/';
            memcpy(path + length + 1, file, name + 1);
            if (hl_os_call(SYS_faccessat, AT_FDCWD, (long)path, R_OK, 0, 0, 0) == 0)
                return true;
        }
        at += length + (at[length] != '\0');
    }
    return false;
}

/* As the loader would open it for this caller; NULL: it is to be asked. */
static void *open_for(const void *code, const char *file, int mode)
{
    caller c;
    bool has_slash = strchr(file, '/') != NULL;
    if ((has_slash && !strchr(file, '$')) || !find_caller(&c, code))
        return NULL;
    if (has_slash) {
        char path[PATH_MAX];
        return expand(&c, file, strlen(file), path) ? dlopen(path, mode) : NULL;
    }
    if (!c.rpath && !c.runpath)
        return NULL;
    void *handle = dlopen(file, mode | RTLD_NOLOAD); /* what is loaded under that name is it */
    if (handle || mode & RTLD_NOLOAD)
        return handle;
    if (c.rpath)
        return open_in(&c, c.rpath, file, mode);
    return is_in_library_path(file) ? NULL : open_in(&c, c.runpath, file, mode);
}

void *hl_open_hook(const char *file, int mode)
{
    void *handle = file && *file ? open_for(__builtin_return_address(0), file, mode) : NULL;
    if (!handle)
        handle = dlopen(file, mode);
    if (handle)
        hl_patch_look();
    return handle;
}
