/*
 * python_walk.c - the walk of each layout, and the memory of remembered frames.
 */
#include "python_walk.h"

#include "python.h"

#include <string.h>

/* One function for each layout: the offsets in it are constants. */
#define HL_WALKER(name, layout)                                                                                        \
    static __attribute__((noinline)) uint64_t rest_##name(hl_wire_writer *w, char *leaf, bool strict, uint64_t mark)   \
    {                                                                                                                  \
        return hl_walk_rest_of(w, leaf, strict, mark, layout);                                                         \
    }                                                                                                                  \
    static __attribute__((noinline))                                                                                   \
    uint64_t compare_##name(hl_wire_writer *w, char *leaf, bool strict, uint64_t mark)                                 \
    {                                                                                                                  \
        return hl_walk_compare(w, leaf, strict, mark, rest_##name, layout);                                            \
    }                                                                                                                  \
    static __attribute__((noinline)) uint64_t elsewhere_##name(hl_wire_writer *w, bool epoch_changed)                  \
    {                                                                                                                  \
        return hl_walk_elsewhere(w, epoch_changed, compare_##name, rest_##name, layout);                               \
    }                                                                                                                  \
    static uint64_t walk_##name(hl_wire_writer *w, bool epoch_changed)                                                 \
    {                                                                                                                  \
        return hl_walk_stack(w, epoch_changed, elsewhere_##name, compare_##name, rest_##name, layout);                 \
    }
HL_WALKER(27, HL_LAYOUT_27)
HL_WALKER(36, HL_LAYOUT_36)
HL_WALKER(37, HL_LAYOUT_37)
HL_WALKER(310, HL_LAYOUT_310)
HL_WALKER(311, HL_LAYOUT_311)
HL_WALKER(312, HL_LAYOUT_312)
HL_WALKER(313, HL_LAYOUT_313)
HL_WALKER(313t, HL_LAYOUT_313T)
HL_WALKER(314, HL_LAYOUT_314)
HL_WALKER(314t, HL_LAYOUT_314T)
HL_WALKER(315, HL_LAYOUT_315)
HL_WALKER(315t, HL_LAYOUT_315T)

static const struct {
    uint16_t version;
    bool free_threaded;
    const hl_layout *layout;
    hl_walker *walk;
} LAYOUTS[] = {
    {0x207, false, &HL_LAYOUT_27, walk_27},   {0x306, false, &HL_LAYOUT_36, walk_36},
    {0x307, false, &HL_LAYOUT_37, walk_37},   {0x308, false, &HL_LAYOUT_38, walk_37},
    {0x309, false, &HL_LAYOUT_38, walk_37},   {0x30a, false, &HL_LAYOUT_310, walk_310},
    {0x30b, false, &HL_LAYOUT_311, walk_311}, {0x30c, false, &HL_LAYOUT_312, walk_312},
    {0x30d, false, &HL_LAYOUT_313, walk_313}, {0x30d, true, &HL_LAYOUT_313T, walk_313t},
    {0x30e, false, &HL_LAYOUT_314, walk_314}, {0x30e, true, &HL_LAYOUT_314T, walk_314t},
    {0x30f, false, &HL_LAYOUT_315, walk_315}, {0x30f, true, &HL_LAYOUT_315T, walk_315t},
};

hl_walker *hl_python_walker(uint16_t version, bool free_threaded, const hl_layout **layout)
{
    for (size_t i = 0; i < sizeof LAYOUTS / sizeof *LAYOUTS; i++) {
        if (LAYOUTS[i].version == version && LAYOUTS[i].free_threaded == free_threaded) {
            *layout = LAYOUTS[i].layout;
            return LAYOUTS[i].walk;
        }
    }
    return NULL;
}

/* Moves the frames to a larger mapping; false when this writer or all together have as much as they may. */
static bool grow(hl_wire_writer *w, hl_remembered *memory, uint32_t kept, uint32_t wanted)
{
    if (wanted > HL_FRAMES_MOST || w == hl_tracker.shared)
        return false;
    uint32_t room = 512;
    while (room < wanted + wanted / 4 && room < HL_FRAMES_MOST)
        room *= 4;
    room = room < HL_FRAMES_MOST ? room : HL_FRAMES_MOST;
    if (atomic_fetch_add(&hl_python.frames_mapped, room) + room > HL_FRAMES_MAPPED_MOST) {
        atomic_fetch_sub(&hl_python.frames_mapped, room);
        return false;
    }
    hl_python_frame *frames = hl_os_pages(room * sizeof *frames);
    if (!frames) {
        atomic_fetch_sub(&hl_python.frames_mapped, room);
        return false;
    }
    memcpy(frames, memory->frames, kept * sizeof *frames);
    hl_python_frame *old = memory->frames;
    uint32_t old_room = memory->room;
    /* A handler that jumps out between these stores loses at most a mapping. */
    memory->room = old_room < room ? old_room : room;
    memory->frames = frames;
    atomic_signal_fence(memory_order_seq_cst);
    memory->room = room;
    if (old != memory->inline_frames) {
        hl_os_give_back(old, old_room * sizeof *old);
        atomic_fetch_sub(&hl_python.frames_mapped, old_room);
    }
    return true;
}

uint32_t hl_python_make_room(hl_wire_writer *w, uint32_t kept, uint32_t more)
{
    hl_remembered *memory = hl_remembered_of(w);
    if (kept + more <= memory->room || grow(w, memory, kept, kept + more))
        return kept;
    if (!atomic_exchange(&hl_python.cut_noted, true)) {
        static const char NOTE[] = "a Python stack was too deep and has been cut at its outer end";
        hl_put_text(w, HL_TEXT_NOTE, NOTE, sizeof NOTE - 1);
    }
    if (!kept)
        return 0; /* the caller begins anew, with what there is room for */
    uint32_t left = memory->room / 2 > more ? memory->room / 2 : more < memory->room ? memory->room - more : 0;
    left = left < kept ? left : kept;
    uint32_t dropped = kept - left;
    if (dropped) {
        memory->cut = memory->frames[dropped - 1].address;
        memmove(memory->frames, memory->frames + dropped, left * sizeof *memory->frames);
    }
    return left;
}

void hl_python_thread_ended(hl_wire_writer *w)
{
    hl_remembered *memory = hl_remembered_of(w);
    w->tracker_hot[HL_HOT_STATE] = w->tracker_hot[HL_HOT_TOP] = 0;
    memory->depth = 0;
    if (memory->frames && memory->frames != memory->inline_frames) {
        hl_os_give_back(memory->frames, memory->room * sizeof *memory->frames);
        atomic_fetch_sub(&hl_python.frames_mapped, memory->room);
    }
    memory->frames = memory->inline_frames;
    memory->room = HL_INLINE_FRAMES;
}
