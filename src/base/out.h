/*
 * out.h - text on its way to a terminal, a pipe or a file: a buffer that grows, and what its destination can show.
 *
 * A report is built whole in one hl_out and written once, so that an error on the way leaves no half report. When memory
 * runs out the buffer remembers it (`failed`) and hl_out_write says so; adding never fails at the caller.
 *
 * What comes from a program (function names, paths, thread names) is hostile: hl_out_clean makes control characters,
 * bytes that are no UTF-8 and characters that reorder text visible as \x1b or \u202e, and never passes them on.
 */
#ifndef HL_BASE_OUT_H
#define HL_BASE_OUT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum hl_colour { HL_COLOUR_AUTO, HL_COLOUR_ALWAYS, HL_COLOUR_NEVER } hl_colour;

typedef struct hl_terminal {
    int width; /* columns; 80 when nothing says otherwise */
    bool colour;
    bool utf8; /* else ASCII only, the rest escaped */
} hl_terminal;

/* What `fd` can show. Width: the terminal's, else COLUMNS, else 80. Colour: NO_COLOR, then FORCE_COLOR or CLICOLOR_FORCE,
 * then CLICOLOR=0, TERM=dumb and not a terminal; `choice` goes before all. Sets the process's LC_CTYPE: the user's, or
 * C.UTF-8 where nothing was chosen (LC_ALL=C is a choice), as Python does. */
hl_terminal hl_terminal_of(int fd, hl_colour choice);

typedef struct hl_out {
    hl_terminal terminal;
    char *at; /* not terminated */
    size_t bytes, room;
    bool failed;
} hl_out;

void hl_out_begin(hl_out *out, hl_terminal terminal);
void hl_out_release(hl_out *out);
void hl_out_add(hl_out *out, const char *text, size_t bytes);
void hl_out_put(hl_out *out, const char *text);
void hl_out_repeat(hl_out *out, const char *text, int times);
void hl_outf(hl_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes all of it to `fd`. -EPIPE when the reader has gone (be quiet about it), -ENOMEM, or what write said. */
int hl_out_write(hl_out *out, int fd);

/* Text from outside, made harmless as above. */
void hl_out_clean(hl_out *out, const char *text, size_t bytes);

/* Columns that clean text takes (wcwidth); bytes of its longest prefix that takes at most `columns`, and of its longest
 * suffix. */
int hl_columns(const char *clean, size_t bytes);
size_t hl_prefix_of(const char *clean, size_t bytes, int columns);
size_t hl_suffix_of(const char *clean, size_t bytes, int columns);

/* Clean text cut to `columns` in its middle, where the least important part of a path is; the last part of a path stays
 * whole when it fits. */
void hl_out_middle(hl_out *out, const char *clean, size_t bytes, int columns);

typedef enum hl_style { HL_PLAIN, HL_BOLD, HL_DIM, HL_RED, HL_GREEN, HL_YELLOW, HL_BLUE, HL_CYAN, HL_STYLES } hl_style;
void hl_out_style(hl_out *out, hl_style style); /* nothing without colour; HL_PLAIN ends any other */

/* The first where the destination shows UTF-8, else the second. */
static inline const char *hl_glyph(const hl_out *out, const char *utf8, const char *ascii)
{
    return out->terminal.utf8 ? utf8 : ascii;
}

#endif
