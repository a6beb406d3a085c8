/* See json.h. */
#include "json.h"

#include "utf8.h"

#include <assert.h>
#include <string.h>

hl_json hl_json_begin(hl_out *out) { return (hl_json){.out = out}; }

void hl_json_quote(hl_out *out, const char *text, size_t bytes)
{
    hl_out_put(out, "\"");
    size_t from = 0;
    for (size_t i = 0; i < bytes;) {
        unsigned char c = (unsigned char)text[i];
        unsigned length = hl_utf8_character(text + i, bytes - i);
        if (length > 1 || (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')) {
            i += length;
            continue;
        }
        hl_out_add(out, text + from, i - from);
        if (length == 0)
            hl_out_put(out, "\xef\xbf\xbd"); /* U+FFFD */
        else if (c == '"' || c == '\\')
            hl_outf(out, "\\%c", c);
        else if (c == '\n')
            hl_out_put(out, "\\n");
        else if (c == '\t')
            hl_out_put(out, "\\t");
        else
            hl_outf(out, "\\u%04x", c);
        from = ++i;
    }
    hl_out_add(out, text + from, bytes - from);
    hl_out_put(out, "\"");
}

static bool in_flat(const hl_json *json) { return json->depth > 0 && json->flat[json->depth - 1]; }

static void before(hl_json *json, const char *key)
{
    if (json->depth > 0) {
        if (json->filled[json->depth - 1])
            hl_out_put(json->out, in_flat(json) ? ", " : ",");
        json->filled[json->depth - 1] = true;
        if (!in_flat(json)) {
            hl_out_put(json->out, "\n");
            hl_out_repeat(json->out, "  ", json->depth);
        }
    }
    if (key) {
        hl_json_quote(json->out, key, strlen(key));
        hl_out_put(json->out, ": ");
    }
}

static void open_level(hl_json *json, const char *key, const char *braces, bool flat)
{
    assert(json->depth < HL_JSON_DEPTH);
    before(json, key);
    hl_out_add(json->out, braces, 1);
    flat = flat || in_flat(json);
    json->close[json->depth] = braces[1];
    json->filled[json->depth] = false;
    json->flat[json->depth] = flat;
    json->depth++;
}

void hl_json_object(hl_json *json, const char *key) { open_level(json, key, "{}", false); }

void hl_json_array(hl_json *json, const char *key) { open_level(json, key, "[]", false); }

void hl_json_row(hl_json *json, const char *key) { open_level(json, key, "{}", true); }

void hl_json_list(hl_json *json, const char *key) { open_level(json, key, "[]", true); }

void hl_json_end(hl_json *json)
{
    bool broken = !in_flat(json) && json->filled[json->depth - 1];
    json->depth--;
    if (broken) {
        hl_out_put(json->out, "\n");
        hl_out_repeat(json->out, "  ", json->depth);
    }
    hl_out_add(json->out, &json->close[json->depth], 1);
    if (json->depth == 0)
        hl_out_put(json->out, "\n");
}

void hl_json_raw(hl_json *json, const char *key, const char *value, size_t bytes)
{
    before(json, key);
    hl_out_add(json->out, value, bytes);
}

void hl_json_text(hl_json *json, const char *key, const char *text)
{
    if (text)
        hl_json_bytes(json, key, text, strlen(text));
    else
        hl_json_null(json, key);
}

void hl_json_bytes(hl_json *json, const char *key, const char *text, size_t bytes)
{
    before(json, key);
    hl_json_quote(json->out, text, bytes);
}

void hl_json_int(hl_json *json, const char *key, int64_t value)
{
    before(json, key);
    hl_outf(json->out, "%lld", (long long)value);
}

void hl_json_seconds(hl_json *json, const char *key, uint64_t time_ns)
{
    before(json, key);
    hl_outf(json->out, "%llu.%06llu", (unsigned long long)(time_ns / 1000000000),
            (unsigned long long)(time_ns % 1000000000 / 1000));
}

void hl_json_bool(hl_json *json, const char *key, bool value)
{
    hl_json_raw(json, key, value ? "true" : "false", value ? 4 : 5);
}

void hl_json_null(hl_json *json, const char *key) { hl_json_raw(json, key, "null", 4); }
