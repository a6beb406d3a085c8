/* gate_json.c - check and diff for programs: heapline.check/1 and heapline.diff/1. docs/heapline-check.md, -diff.md. */
#include "gate.h"

#include "report.h"

#include <errno.h>
#include <stdlib.h>

static const char *const keys[HL_FIGURES] = {
    "peak_bytes", "leak_bytes", "allocated_bytes", "allocations", "temporary_allocations", "rss_peak_bytes"};

static void put_figures(hl_json *json, const uint64_t *figures, int n)
{
    for (int f = 0; f < n; f++)
        hl_json_int(json, keys[f], (int64_t)figures[f]);
}

static void put_side(hl_json *json, const char *key, const hl_gate_side *side)
{
    hl_json_object(json, key);
    hl_json_text(json, "profile", side->path);
    hl_json_text(json, "command", hl_model_text(side->model, "command", ""));
    hl_json_text(json, "state", hl_model_text(side->model, "state", "finished"));
    hl_json_int(json, "events_lost", hl_model_number(side->model, "lost", 0));
    put_figures(json, side->total, HL_FIGURES);
    hl_json_end(json);
}

static void put_line(hl_gate *gate, hl_json *json, const hl_gate_line *line, hl_figure f)
{
    uint32_t site;
    const hl_gate_side *side = hl_gate_shown(gate, line, f, &site);
    size_t bytes = 0;
    const char *source = hl_gate_source_text(gate, line, f, &bytes);
    hl_json_row(json, NULL);
    hl_report_json_site(side->model, json, site);
    if (source)
        hl_json_bytes(json, "source", source, bytes);
    else
        hl_json_null(json, "source");
    if (gate->is_diff) {
        hl_json_text(json, "in", line->in_old && line->in_new ? "both" : line->in_new ? "new" : "old");
        hl_json_row(json, "old");
        put_figures(json, line->was, HL_LINE_FIGURES);
        hl_json_end(json);
        hl_json_row(json, "new");
        put_figures(json, line->is, HL_LINE_FIGURES);
        hl_json_end(json);
    } else {
        put_figures(json, line->is, HL_LINE_FIGURES);
    }
    hl_json_end(json);
}

/* Rows that are shown, then what the others add up to. */
static int put_lines(hl_gate *gate, hl_json *json, hl_figure f)
{
    uint32_t grown, n;
    uint32_t *rows = hl_gate_rank(gate, f, &grown, &n);
    if (!rows)
        return -ENOMEM;
    hl_gate_line rest = {0};
    uint32_t others = 0, head, tail;
    hl_gate_cut(gate, grown, n, &head, &tail);
    hl_json_array(json, "lines");
    for (uint32_t i = 0; i < n; i++) {
        const hl_gate_line *line = &gate->lines[rows[i]];
        if (i < head || i >= tail) {
            put_line(gate, json, line, f);
            continue;
        }
        others++;
        rest.was[f] += line->was[f];
        rest.is[f] += line->is[f];
    }
    hl_json_end(json);
    hl_json_row(json, "other");
    hl_json_int(json, "lines", others);
    if (gate->is_diff)
        hl_json_int(json, "growth", hl_gate_growth(&rest, f));
    else
        hl_json_int(json, keys[f], (int64_t)rest.is[f]);
    hl_json_end(json);
    free(rows);
    return 0;
}

static int put_limits(hl_gate *gate, hl_json *json)
{
    int error = 0;
    hl_json_array(json, "limits");
    for (size_t i = 0; i < gate->limit_count && !error; i++) {
        const hl_gate_limit *limit = &gate->limits[i];
        char bound[HL_NUMBER_BYTES];
        hl_out words;
        hl_out_begin(&words, (hl_terminal){.width = 80, .utf8 = true});
        hl_gate_sentence(gate, limit, &words);
        hl_json_object(json, NULL);
        hl_json_text(json, "figure", hl_figure_names[limit->figure]);
        hl_json_text(json, "limit", limit->words ? limit->words : hl_limit_text(bound, gate, limit));
        if (gate->is_diff)
            hl_json_int(json, "old", (int64_t)gate->old.total[limit->figure]);
        hl_json_int(json, gate->is_diff ? "new" : "value", (int64_t)gate->new.total[limit->figure]);
        hl_json_int(json, "allowed", limit->allowed > INT64_MAX ? INT64_MAX : (int64_t)limit->allowed);
        hl_json_int(json, "over", (int64_t)limit->over);
        hl_json_bool(json, "exceeded", limit->over > 0);
        hl_json_bytes(json, "words", words.at ? words.at : "", words.bytes);
        if (limit->over && limit->figure < HL_LINE_FIGURES)
            error = put_lines(gate, json, limit->figure);
        hl_json_end(json);
        hl_out_release(&words);
    }
    hl_json_end(json);
    return error;
}

int hl_gate_json(hl_gate *gate)
{
    static const char *const outcomes[] = {"passed", "failed", "incomplete"};
    hl_json json = hl_json_begin(&gate->out);
    hl_out warning;
    hl_json_object(&json, NULL);
    hl_json_text(&json, "schema", gate->is_diff ? "heapline.diff/1" : "heapline.check/1");
    hl_json_text(&json, "outcome", outcomes[gate->outcome]);
    hl_out_begin(&warning, (hl_terminal){.width = 80, .utf8 = true});
    if (hl_gate_warning(gate, &warning))
        hl_json_bytes(&json, "warning", warning.at, warning.bytes);
    else
        hl_json_null(&json, "warning");
    hl_out_release(&warning);
    if (gate->is_diff)
        put_side(&json, "old", &gate->old);
    put_side(&json, gate->is_diff ? "new" : "checked", &gate->new);
    int error = put_limits(gate, &json);
    if (gate->is_diff && !error) {
        hl_json_text(&json, "sort", hl_figure_names[gate->sort]);
        error = put_lines(gate, &json, gate->sort);
    }
    hl_json_end(&json);
    return error;
}
