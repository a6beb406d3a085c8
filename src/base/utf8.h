/*
 * utf8.h - well-formed UTF-8 (Unicode, table 3-7), and text made so.
 */
#ifndef HL_BASE_UTF8_H
#define HL_BASE_UTF8_H

#include "out.h"

/* Length of the well-formed character that `text` begins with; 0 if there is none. `bytes` is at least 1. */
unsigned hl_utf8_character(const char *text, size_t bytes);

/* Adds the text with U+FFFD for each byte that belongs to no character. */
void hl_out_utf8(hl_out *out, const char *text, size_t bytes);

#endif
