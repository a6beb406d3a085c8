/*
 * environment.c - takes our variables out of the program's environment, so that it finds no trace of us there.
 *
 * Runs while joining, before main (or in a first hook before that). Strings are changed where they lie: nothing is
 * allocated, and what the kernel put on the stack stays the program's.
 */
#include "tracker.h"

#include <string.h>
#include <unistd.h>

/* The variable's place in environ, or NULL. */
static char **find(const char *name)
{
    size_t n = strlen(name);
    for (char **at = environ; at && *at; at++)
        if (strncmp(*at, name, n) == 0 && (*at)[n] == '=')
            return at;
    return NULL;
}

static void drop(char **at)
{
    do
        at[0] = at[1];
    while (*at++);
}

const char *hl_environment_get(const char *name)
{
    char **at = find(name);
    return at ? *at + strlen(name) + 1 : NULL;
}

void hl_environment_drop(const char *name)
{
    for (char **at; (at = find(name));)
        drop(at);
}

void hl_environment_clean_preload(const char *library)
{
    char **at = find("LD_PRELOAD");
    if (!at)
        return;
    char *from = *at + sizeof "LD_PRELOAD", *to = from; /* sizeof counts the '=' */
    char *first = to;
    while (*from) {
        size_t n = strcspn(from, " :"); /* ld.so takes either */
        bool is_ours = n == strlen(library) && strncmp(from, library, n) == 0;
        size_t with_separator = n + (from[n] != '\0');
        if (!is_ours) {
            memmove(to, from, with_separator);
            to += with_separator;
        }
        from += with_separator;
    }
    if (to > first && (to[-1] == ':' || to[-1] == ' ')) /* ours stood last */
        to--;
    *to = '\0';
    if (to == first)
        drop(at);
}
