/*
 * origin.c - whose code a file is, by its path alone: the collector does not know the program's sys.prefix.
 */
#include "dictionary.h"

#include <string.h>

static const char *find(hl_text path, const char *what)
{
    return path.bytes ? memmem(path.at, path.bytes, what, strlen(what)) : NULL;
}

static bool starts(hl_text path, const char *with)
{
    size_t n = strlen(with);
    return path.bytes >= n && memcmp(path.at, with, n) == 0;
}

static bool ends(hl_text path, const char *with)
{
    size_t n = strlen(with);
    return path.bytes >= n && memcmp(path.at + path.bytes - n, with, n) == 0;
}

/* ".../lib/python3.13/" or "/lib64/python3.13t/" somewhere in the path: directory of a standard library. */
static bool below_python_lib(hl_text path)
{
    const char *end = path.at + path.bytes;
    for (hl_text rest = path;;) {
        const char *at = find(rest, "/python");
        if (!at)
            return false;
        hl_text before = {path.at, (uint32_t)(at - path.at)};
        const char *p = at + strlen("/python");
        rest = (hl_text){p, (uint32_t)(end - p)};
        const char *digits = p;
        while (p < end && ((*p >= '0' && *p <= '9') || *p == '.'))
            p++;
        bool version = p > digits;
        while (p < end && (*p == 't' || *p == 'd'))
            p++;
        if (version && p < end && *p == '/' && (ends(before, "/lib") || ends(before, "/lib64") || ends(before, "/Lib")))
            return true;
    }
}

static bool is_shared_object(hl_text path) { return ends(path, ".so") || find(path, ".so.") || ends(path, ".dylib"); }

const char *hl_origin_of(hl_text path)
{
    if (!path.at || path.bytes == 0)
        return "interactive";
    if (path.at[0] == '<')
        return starts(path, "<frozen ") || ends(path, "(frozen)>") ? "frozen" : "interactive";
    if (is_shared_object(path))
        return "native";
    if (find(path, "/site-packages/") || find(path, "/dist-packages/"))
        return "site";
    if (below_python_lib(path))
        return "stdlib";
    /* ipykernel compiles cells as files of a temporary directory that do not exist; "?" is a file without a name. */
    if (find(path, "/ipykernel_") || (path.bytes == 1 && path.at[0] == '?'))
        return "interactive";
    return "user";
}
