/*
 * lines_boxes.h - what the interpreter allocates because it tells us of lines, and would not allocate otherwise (lines_boxes.c).
 */
#ifndef HL_TRACKER_LINES_BOXES_H
#define HL_TRACKER_LINES_BOXES_H

#include "lines_private.h"

/* The thread's last unrecorded int: its free is not recorded either. */
extern __attribute__((visibility("hidden"), tls_model("initial-exec"))) __thread void *hl_line_box;

/* In a hook of PyMem, for a size that live.box_bytes or live.data_bytes says: whether it allocates for our sake. `frame` is the
 * frame address of a function of the hook's, the same at each call. */
bool hl_line_is_box(const uint64_t *frame);
bool hl_line_is_data(const uint64_t *frame);
/* The former has said no, and this was allocated. */
void hl_line_no_box(const uint64_t *frame, const void *p);

/* A callback has got an int that a hook must have seen, and did not know: how is learned from the next ones. */
void hl_line_box_missed(const void *integer, const void *frame);

/* In each callback, with the number that came as an int. Smaller ones exist always. */
enum { HL_LINE_BOXES_FROM = 257 };
static HL_ALWAYS void hl_line_check_box(const void *integer, uint32_t value)
{
    if (HL_UNLIKELY(value >= HL_LINE_BOXES_FROM) && HL_UNLIKELY(integer != hl_line_box))
        hl_line_box_missed(integer, __builtin_frame_address(0));
}

/* With the GIL held, callbacks registered, and hidden what is allocated: learns from functions that are made for it. `watch` asks
 * for events of a code object. */
void hl_line_boxes_learn(bool (*watch)(void *code));
/* A recording begins or goes on in a child; and with `on` false: the interpreter tells of nothing any more. */
void hl_line_boxes_set(bool on);

#endif
