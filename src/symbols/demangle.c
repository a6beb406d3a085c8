/*
 * demangle.c - readable names of C++, Rust (legacy and v0) and D symbols, by libiberty. Runs in the worker.
 */
#include "object.h"

#include <libiberty/demangle.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAME_MOST = 1 << 16
}; /* a longer mangled name is shown as it is: its readable form can be exponentially longer */

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
        readable = dlang_demangle(mangled, DMGL_PARAMS);
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
