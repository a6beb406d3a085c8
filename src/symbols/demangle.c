/*
 * demangle.c - readable names of C++, Rust (legacy and v0) and D symbols, by libiberty. Runs in the worker.
 */
#include "object.h"

#include <libiberty/demangle.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MOST = 1 << 16
}; /* a longer mangled name is shown as it is: its readable form can be exponentially longer */

/* D's adjustment of an interface's `this`, "_DTi16_D...", which libiberty does not know. Null: it is none. */
static char *demangle_thunk(const char *mangled)
{
    size_t digits = strncmp(mangled, "_DTi", 4) == 0 ? strspn(mangled + 4, "0123456789") : 0;
    char *target = digits ? dlang_demangle(mangled + 4 + digits, DMGL_PARAMS) : NULL, *readable = NULL;
    if (target && asprintf(&readable, "thunk to %s", target) < 0)
        readable = NULL;
    free(target);
    return readable;
}

char *hl_demangle(const char *name)
{
    if (strnlen(name, NAME_MOST + 1) > NAME_MOST)
        return NULL;
    /* A symbol's version (from .symtab) is not a part of the name. */
    const char *version = strchr(name, '@');
    char *bare = version && version != name ? strndup(name, (size_t)(version - name)) : NULL;
    const char *mangled = bare ? bare : name;
    char *readable = NULL;
    if (mangled[0] == '_' && mangled[1] == 'D')
        readable = mangled[2] == 'T' ? demangle_thunk(mangled) : dlang_demangle(mangled, DMGL_PARAMS);
    if (!readable && (mangled[0] == '_' || mangled[0] == '.' || mangled[0] == '$' || mangled[0] == 'R'))
        readable = cplus_demangle(mangled, DMGL_AUTO | DMGL_PARAMS | DMGL_ANSI);
    if (readable && !*readable) {
        free(readable);
        readable = NULL;
    }
    if (!readable)
        return bare;
    free(bare);
    return readable;
}
