/*
 * varint.h - numbers as the profile's histograms store them: LEB128, seven bits a byte, low bits first.
 */
#ifndef HL_REPORT_VARINT_H
#define HL_REPORT_VARINT_H

#include <stdbool.h>
#include <stdint.h>

/* The next number of a list; false at its end or where it is cut off. */
static inline bool hl_varint_next(const unsigned char **at, const unsigned char *end, uint64_t *value)
{
    uint64_t sum = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = *(*at)++;
        sum |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = sum;
            return true;
        }
    }
    return false;
}

#endif
