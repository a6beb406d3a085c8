/*
 * sha256.h - SHA-256 (FIPS 180-4) of a text at hand, and base64 (RFC 4648): for the HTML report, whose policy names its own
 * script by its hash.
 */
#ifndef HL_BASE_SHA256_H
#define HL_BASE_SHA256_H

#include <stddef.h>

enum { HL_SHA256_BYTES = 32, HL_SHA256_BASE64 = 44 };

void hl_sha256(const void *data, size_t bytes, unsigned char digest[HL_SHA256_BYTES]);

/* Writes 4 characters for each 3 bytes begun, not terminated; returns how many. Text in pieces: of 3 n bytes but the last. */
size_t hl_base64(char *to, const void *data, size_t bytes);

#endif
