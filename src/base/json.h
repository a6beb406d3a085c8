/*
 * json.h - writes JSON into an hl_out, one member a line at the outer levels, so that people can read and diff it.
 *
 * Strings may hold any bytes: what is no UTF-8 becomes U+FFFD, control characters become \u escapes. Numbers are exact
 * integers or short decimals; there is no NaN.
 *
 *     hl_json json = hl_json_begin(out);
 *     hl_json_object(&json, NULL);
 *     hl_json_text(&json, "schema", "heapline.stats/1");
 *     hl_json_array(&json, "rows"); ... hl_json_end(&json);
 *     hl_json_end(&json);
 *
 * `key` is null inside arrays and at the top.
 */
#ifndef HL_BASE_JSON_H
#define HL_BASE_JSON_H

#include "out.h"

#include <stdint.h>

enum { HL_JSON_DEPTH = 32 };

typedef struct hl_json {
    hl_out *out;
    int depth;
    char close[HL_JSON_DEPTH]; /* of each open level */
    bool filled[HL_JSON_DEPTH];
    bool flat[HL_JSON_DEPTH]; /* written on one line */
} hl_json;

hl_json hl_json_begin(hl_out *out);
void hl_json_object(hl_json *json, const char *key);
void hl_json_array(hl_json *json, const char *key);
void hl_json_row(hl_json *json, const char *key);  /* an object on one line */
void hl_json_list(hl_json *json, const char *key); /* an array on one line */
void hl_json_end(hl_json *json);                   /* of the innermost open one; a line end after the last */

void hl_json_text(hl_json *json, const char *key, const char *text); /* null: null */
void hl_json_bytes(hl_json *json, const char *key, const char *text, size_t bytes);
void hl_json_int(hl_json *json, const char *key, int64_t value);
void hl_json_seconds(hl_json *json, const char *key, uint64_t time_ns);
void hl_json_bool(hl_json *json, const char *key, bool value);
void hl_json_null(hl_json *json, const char *key);
/* A value that was written before, as text. */
void hl_json_raw(hl_json *json, const char *key, const char *value, size_t bytes);

/* Just a string with its quotes. */
void hl_json_quote(hl_out *out, const char *text, size_t bytes);

#endif
