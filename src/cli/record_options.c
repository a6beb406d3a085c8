/* record_options.c - what the options that run, env and collect share mean (recorder.h). */
#include "cli.h"

#include "recorder.h"

#include "wire.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *const hl_children_names[] = {"none", "python", "all", NULL};

const char *hl_record_bad_label(const hl_record_options *o)
{
    for (size_t i = 0; i < o->labels.n; i++) {
        const char *equals = strchr(o->labels.at[i], '=');
        if (equals == NULL || equals == o->labels.at[i])
            return o->labels.at[i];
    }
    return NULL;
}

/* Names with dots between them: identifiers, as far as ASCII tells. `locals`: or "<locals>", as in qualified names. */
static bool is_dotted_name(const char *text, size_t bytes, bool locals)
{
    static const char LOCALS[] = "<locals>.";
    bool begins = true;
    for (size_t i = 0; i < bytes; i++) {
        if (locals && begins && i > 0 && bytes - i >= strlen(LOCALS) && !memcmp(text + i, LOCALS, strlen(LOCALS))) {
            i += strlen(LOCALS) - 1;
            continue;
        }
        unsigned char c = (unsigned char)text[i];
        bool letter = isalpha(c) || c == '_' || c >= 0x80;
        if (c == '.' ? begins : !letter && (begins || !isdigit(c)))
            return false;
        begins = c == '.';
    }
    return !begins;
}

static bool is_function(const char *text, size_t bytes)
{
    const char *colon = memchr(text, ':', bytes);
    return colon && is_dotted_name(text, (size_t)(colon - text), false) &&
           is_dotted_name(colon + 1, bytes - (size_t)(colon + 1 - text), true);
}

const char *hl_record_bad_lines(const hl_record_options *o)
{
    enum { FUNCTIONS_MOST = 64 }; /* that the tracker looks for */
    static char why[400];
    size_t all = 0, functions = 0;
    for (size_t i = 0; i < o->lines.n; i++) {
        const char *given = o->lines.at[i];
        all += strlen(given) + 1;
        for (const char *at = given, *end;; at = end + 1) {
            end = strchrnul(at, ',');
            if (!is_function(at, (size_t)(end - at))) {
                snprintf(
                    why, sizeof why,
                    "--lines %.200s: this is not MODULE:FUNCTION (app:load, pkg.mod:Class.method; several with commas)",
                    given);
                return why;
            }
            functions++;
            if (!*end)
                break;
        }
    }
    size_t most = sizeof((hl_session *)0)->lines;
    if (functions > FUNCTIONS_MOST) {
        snprintf(why, sizeof why, "--lines: these are too many: %zu functions, %d are the most", functions,
                 FUNCTIONS_MOST);
        return why;
    }
    if (all > most) {
        snprintf(why, sizeof why, "--lines: these are too many: their names have %zu letters, %zu are the most",
                 all - 1, most - 1);
        return why;
    }
    return o->line_rss && !o->lines.n ? "--line-rss goes with --lines" : NULL;
}
