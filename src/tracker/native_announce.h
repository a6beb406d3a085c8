/*
 * native_announce.h - C frames, announced: a loaded object is told like a code object (python_version 0; its file is the
 * object's path, its name the build id in hexadecimal), a frame as an offset into it.
 */
#ifndef HL_TRACKER_NATIVE_ANNOUNCE_H
#define HL_TRACKER_NATIVE_ANNOUNCE_H

#include "announce.h"

/* `pc`: an address of the frame's call. `version` is another for each state of loaded objects. */
void hl_native_announce(hl_wire_writer *w, uint64_t node, uint64_t parent, uint64_t pc, uint32_t version);

/* The node that stands for what lies further out than the walk could go: beyond the code at `pc`, or, 0, because there was
 * no more room. Announced. */
uint64_t hl_native_announce_end(hl_wire_writer *w, uint64_t parent, uint64_t pc);

#endif
