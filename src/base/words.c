/* words.c - see words.h. */
#include "words.h"

#include <stdbool.h>
#include <string.h>

static bool plain_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%^";
    return word[0] != '\0' && word[strspn(word, plain)] == '\0';
}

void hl_join_words(char *to, size_t bytes, char *const *words)
{
    size_t used = 0;
    for (char *const *w = words; *w != NULL; w++) {
        bool plain = plain_word(*w);
        const char *at = *w;
        if (w != words && used + 1 < bytes)
            to[used++] = ' ';
        if (!plain && used + 1 < bytes)
            to[used++] = '\'';
        for (; *at != '\0'; at++) {
            const char *as = *at == '\'' && !plain ? "'\\''" : (const char[]){*at, '\0'};
            size_t n = strlen(as);
            if (used + n + 1 >= bytes)
                break;
            memcpy(to + used, as, n);
            used += n;
        }
        if (!plain && used + 1 < bytes)
            to[used++] = '\'';
    }
    to[used] = '\0';
}
