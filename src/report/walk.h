/*
 * walk.h - sums over the call tree "with everything below", where what occurs several times on a stack (recursion) counts once.
 */
#ifndef HL_REPORT_WALK_H
#define HL_REPORT_WALK_H

#include "model.h"

/* Adds to sums[key] the weights of all stacks that have a frame with that key. `keys` gives each frame row's key, below
 * `n`, or HL_NO_ROW. `stacks` are weights by stack row. O(stacks), no recursion. -ENOMEM. */
int hl_walk_sums(const hl_model *model, const hl_weight *stacks, const uint32_t *keys, uint32_t n, hl_weight *sums);

#endif
