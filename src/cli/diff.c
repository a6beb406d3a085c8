/* `heapline diff`: docs/heapline-diff.md. */
#include "gate.h"

#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* "5%", "0.5 %". */
static bool parse_percent(const char *text, double *percent)
{
    size_t digits = strspn(text, "0123456789.");
    char *end;
    *percent = strtod(text, &end);
    if (!digits || text[0] == '.' || end != text + digits)
        return false;
    while (*end == ' ')
        end++;
    return strcmp(end, "%") == 0;
}

/* "[FIGURE:]5%", "[FIGURE:]10MB", "allocations:5000". */
static int parse_limit(const hl_syntax *syntax, const char *words, hl_gate_limit *limit)
{
    *limit = (hl_gate_limit){.figure = HL_FIGURE_PEAK, .words = words};
    const char *colon = strchr(words, ':'), *amount = colon ? colon + 1 : words;
    bool known = !colon;
    for (int f = 0; f < HL_FIGURES && !known; f++) {
        size_t bytes = strlen(hl_figure_names[f]);
        known = bytes == (size_t)(colon - words) && strncmp(hl_figure_names[f], words, bytes) == 0;
        limit->figure = (hl_figure)f;
    }
    if (!known)
        return hl_options_mistake(syntax,
                                  "--fail-over %s: no such figure (one of: peak, leak, allocated, allocations, "
                                  "temporary, rss-peak)",
                                  words);
    if (parse_percent(amount, &limit->percent)) {
        limit->in_percent = true;
        return -1;
    }
    bool count = hl_figure_is_count(limit->figure);
    int error = count ? hl_parse_number(amount, &limit->amount) : hl_parse_size(amount, &limit->amount);
    if (error == -ERANGE)
        return hl_options_mistake(syntax, "--fail-over %s: out of range", words);
    if (error)
        return hl_options_mistake(syntax, "--fail-over %s: neither a share, such as 5%%, nor %s", words,
                                  count ? "a number" : "a size, such as 10MB");
    return -1;
}

/* All of --fail-over, into memory of the gate's. -1, or the status of a mistake. */
static int parse_limits(const hl_syntax *syntax, const hl_option_list *words, hl_gate *gate)
{
    int status = -1;
    if (words->n == 0)
        return status;
    gate->limits = calloc(words->n, sizeof *gate->limits);
    if (!gate->limits)
        return hl_options_mistake(syntax, "%s", hl_error_text(ENOMEM));
    for (size_t i = 0; i < words->n && status < 0; i++)
        status = parse_limit(syntax, words->at[i], &gate->limits[gate->limit_count++]);
    return status;
}

int hl_cmd_diff(int argc, char **argv)
{
    static const char *const sorts[] = {"peak", "leak", "allocated", "allocations", "temporary", NULL};
    static const hl_option options[] = {
        {.name = "fail-over",
         .kind = HL_OPTION_LIST,
         .value = "[FIGURE:]LIMIT",
         .help = "exit with status 1 when the peak grew by more than LIMIT (5%, 10MB), or FIGURE did: peak, leak, "
                 "allocated, allocations, temporary, rss-peak; may be given several times",
         HL_GATE_SET(fail_over)},
        {.name = "sort",
         .kind = HL_OPTION_CHOICE,
         .value = "KEY",
         .choices = sorts,
         .help = "whose growth by line is shown: peak (default), leak, allocated, allocations, temporary",
         HL_GATE_SET(sort)},
        HL_OPTIONS_GATE,
        {0},
    };
    static const hl_syntax syntax = {
        .name = "diff",
        .usage = "[options] OLD NEW",
        .summary = "What grew from one recording to another, by line; lines are found again after edits.",
        .options = options};
    hl_gate_options o = hl_gate_defaults;
    hl_gate gate = {.is_diff = true};
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status < 0)
        status = hl_gate_check_options(&syntax, &o);
    if (status < 0 && argc < 2)
        status = hl_options_mistake(&syntax, "which profiles? (name the old one and the new one)");
    if (status < 0 && argc > 2)
        status = hl_options_mistake(&syntax, "%s: two profiles at a time", argv[2]);
    if (status < 0)
        status = parse_limits(&syntax, &o.fail_over, &gate);
    if (status < 0) {
        gate.old.path = argv[0];
        gate.new.path = argv[1];
        status = hl_gate_command(&syntax, &gate, &o);
    }
    free(gate.limits);
    free(o.fail_over.at);
    return status;
}
