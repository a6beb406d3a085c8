/* suggest.c - see suggest.h. */
#include "suggest.h"

#include <stdbool.h>
#include <string.h>

enum { LONGEST = 63 };

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

unsigned hl_edit_distance(const char *a, const char *b)
{
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);
    unsigned rows[3][LONGEST + 1]; /* the last two rows and the one being filled */
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3], *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);
            best = least(best, least(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = least(best, above2[j - 2] + 1);
            now[j] = best;
        }
    }
    return rows[n % 3][m];
}

const char *hl_suggest(const char *typed, const char *const *words)
{
    size_t letters = strlen(typed);
    const char *best = NULL;
    unsigned best_distance = (unsigned)(letters + 2) / 3 + 1;
    for (; *words != NULL; words++) {
        unsigned distance = hl_edit_distance(typed, *words);
        if (letters >= 2 && strncmp(typed, *words, letters) == 0) /* not finished: --leak is --leaks before --leaf */
            distance = 0;
        bool shorter =
            best && distance == best_distance && strlen(*words) < strlen(best); /* stat: stats before status */
        if (distance < best_distance || shorter) {
            best = *words;
            best_distance = distance;
        }
    }
    return best;
}
