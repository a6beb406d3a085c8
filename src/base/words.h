/*
 * words.h - words of a command line as a shell would have them typed.
 */
#ifndef HL_BASE_WORDS_H
#define HL_BASE_WORDS_H

#include <stddef.h>

/* Joins words by blanks, quoted for a shell where needed, cut to fit. */
void hl_join_words(char *to, size_t bytes, char *const *words);

#endif
