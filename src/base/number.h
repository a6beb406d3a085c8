/*
 * number.h - sizes, counts, times and shares as people read them, and times as they type them.
 *
 * MB = 10^6 bytes everywhere; at least three digits that count; rounding never shows 1000 of a unit. Every function
 * writes into the caller's buffer of HL_NUMBER_BYTES and returns it. ASCII only.
 */
#ifndef HL_BASE_NUMBER_H
#define HL_BASE_NUMBER_H

#include <stdint.h>

enum { HL_NUMBER_BYTES = 40 };

char *hl_size_text(char text[HL_NUMBER_BYTES], int64_t bytes);   /* 0 B, 999 B, 1.23 kB, 45.6 MB, 512.3 GB */
char *hl_count_text(char text[HL_NUMBER_BYTES], uint64_t count); /* 1,234,567 */
/* "1 block", "1,234 blocks": `one` is the singular of a word that takes an s. */
char *hl_counted_text(char text[HL_NUMBER_BYTES], uint64_t count, const char *one);
char *hl_time_text(char text[HL_NUMBER_BYTES], uint64_t time_ns); /* 850 ms, 12.50 s, 2 min 05 s, 3 h 10 min */
char *hl_share_text(char text[HL_NUMBER_BYTES], uint64_t part,
                    uint64_t whole); /* 97.6 %, <0.1 %, empty when whole is 0 */

/* "12.5s", "850ms", "2m", "1h", "12.5" (seconds) or "80%" of `whole_ns` -> nanoseconds. -EINVAL for anything else. */
int hl_time_parse(const char *text, uint64_t whole_ns, uint64_t *time_ns);

#endif
