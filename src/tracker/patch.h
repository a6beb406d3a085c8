/*
 * patch.h - our hooks in the relocation slots of what is loaded: how a program that runs already is recorded.
 *
 * A call from one loaded object into another goes through a slot of the caller, which the loader has filled. Every slot that
 * holds one of the functions we hook gets our hook instead; what it held is remembered and put back. So what is seen are calls
 * through slots: not those within libc, not function pointers that the program has fetched before.
 */
#ifndef HL_TRACKER_PATCH_H
#define HL_TRACKER_PATCH_H

#include "tracker.h"

typedef enum hl_patch_set {
    HL_PATCH_ALL = 1,     /* what a preloaded tracker stands in front of: for a program that runs already */
    HL_PATCH_OBJECTS = 2, /* the functions that make and free objects, for an interpreter that lets nobody in (2.7) */
} hl_patch_set;

/* Whether the object that defines the function calls it through a slot: else its own calls cannot be seen. Not so where it was
 * linked with -Bsymbolic, or is the executable. */
bool hl_patch_reaches(const char *name);

/* Patches all that is loaded, and waits for a dlopen that another thread is in. Not with a lock held that an object's
 * constructor may want (the GIL). 0, or -ENOMEM: nothing is patched. */
int hl_patch_begin(hl_patch_set set);

/* Puts back what stood in each slot that still holds our hook. */
void hl_patch_end(void);

/* Objects may have come or gone: patches the new ones, forgets those that are gone. Costs next to nothing when none have. */
void hl_patch_look(void);

/* In a forked child: no other thread is at work in here any more. */
void hl_patch_forked(void);

/* opens.c: stands for dlopen in slots; `dlopen` itself is not exported, for it looks at who calls it. */
void *hl_open_hook(const char *file, int mode);

#endif
