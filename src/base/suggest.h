/*
 * suggest.h - "did you mean": the known word nearest to an unknown one.
 */
#ifndef HL_BASE_SUGGEST_H
#define HL_BASE_SUGGEST_H

#include <stddef.h>

/* Edit distance with swaps of neighbours as one edit (optimal string alignment). Words beyond 63 bytes are cut. */
unsigned hl_edit_distance(const char *a, const char *b);

/* The word among `words` (null-terminated) that `typed` most likely means: at most a third of its letters wrong, or one that
 * it begins; null when there is none. */
const char *hl_suggest(const char *typed, const char *const *words);

#endif
