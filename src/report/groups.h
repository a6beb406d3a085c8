/*
 * groups.h - a view's weights by a name: of the allocator, the thread, the module. What `stats` shows below its lines.
 */
#ifndef HL_REPORT_GROUPS_H
#define HL_REPORT_GROUPS_H

#include "model.h"

/* Weights of the view and of everything allocated, by a name. */
typedef struct hl_group {
    const char *name;
    size_t bytes; /* of the name */
    hl_weight weight, allocated;
    uint32_t row;
} hl_group;

typedef struct hl_groups {
    hl_group *at;
    uint32_t n;
} hl_groups;

/* Fills `g`, which must be zeroed, the heaviest first; its array is from malloc, also after an error (-ENOMEM). Names belong
 * to the model. */
typedef int hl_grouping(const hl_view *view, hl_groups *g);
hl_grouping hl_group_by_allocator;
hl_grouping hl_group_by_region;
hl_grouping hl_group_by_thread; /* row: of the model's threads, HL_NO_ROW for the unknown one */
hl_grouping hl_group_by_module; /* of the innermost frame outside the standard library, else of the innermost */

/* Of the loaded object of the innermost native frame that is none of libc's, libstdc++'s, the dynamic loader's or the
 * interpreter's allocator's; where all are, of the innermost. row: of the model's files, HL_NO_ROW for "(no native frame)". */
hl_grouping hl_group_by_library;

/* The last component of a path; of "[generated code]" all. */
const char *hl_base_name(const char *path);
/* Whether this is the file name of an object that allocates on behalf of whoever calls it: libc, libstdc++, the loader. */
bool hl_is_runtime(const char *name);

/* Where extensions take memory: the innermost frame of their own code below the innermost line of Python, and the line of the
 * user's that this is charged to. Both are sites of the model. */
typedef struct hl_native_line {
    uint32_t site, caller;
    hl_weight weight;
} hl_native_line;
/* The heaviest first; from malloc, also after an error (-ENOMEM). native_lines.c */
int hl_native_lines(const hl_view *view, hl_native_line **lines, uint32_t *n);

#endif
