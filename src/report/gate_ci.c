/*
 * gate_ci.c - check and diff for those who run them in CI: Markdown for a comment, GitHub's annotations, JUnit's XML.
 *
 * Names, paths and source text come from the program. They are cleaned first (no control characters) and then escaped for
 * the format, so that they can end no cell, no command and no element.
 */
#include "gate.h"

#include "verdict.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A buffer for one piece of text; UTF-8, since these formats are read by programs. */
static hl_out piece(void)
{
    hl_out out;
    hl_out_begin(&out, (hl_terminal){.width = 80, .utf8 = true});
    return out;
}

static const char *of(const hl_out *out) { return out->at ? out->at : ""; }

/* --------------------------------------------------------------------------------------------------------- Markdown */

/* A code span in a table's cell: a fence longer than any run of backquotes inside, and no bar that ends the cell. */
static void put_code(hl_out *out, const char *text, size_t bytes)
{
    int longest = 0, run = 0;
    for (size_t i = 0; i < bytes; i++) {
        run = text[i] == '`' ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    if (!bytes)
        return;
    bool pad = longest || text[0] == ' ' || text[bytes - 1] == ' ';
    hl_out_repeat(out, "`", longest + 1);
    hl_out_put(out, pad ? " " : "");
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '|')
            hl_out_put(out, "\\");
        hl_out_add(out, text + i, 1);
    }
    hl_out_put(out, pad ? " " : "");
    hl_out_repeat(out, "`", longest + 1);
}

static void markdown_side(hl_gate *gate, const char *name, const hl_gate_side *side)
{
    hl_out text = piece();
    const char *command = hl_model_text(side->model, "command", "the program");
    hl_outf(&gate->out, "%s: ", name);
    hl_out_clean(&text, command, strlen(command));
    put_code(&gate->out, of(&text), text.bytes < 120 ? text.bytes : hl_prefix_of(text.at, text.bytes, 120));
    text.bytes = 0;
    hl_verdict_ending(side->model, &text); /* may name a cgroup */
    hl_out_put(&gate->out, " ");
    for (size_t i = 0; i < text.bytes; i++) {
        if (strchr("\\`*_[]<>&|~@#", text.at[i]))
            hl_outf(&gate->out, "&#%d;", text.at[i]);
        else
            hl_out_add(&gate->out, text.at + i, 1);
    }
    hl_out_put(&gate->out, "  \n");
    hl_out_release(&text);
}

static void markdown_line(hl_gate *gate, const hl_gate_line *line, hl_figure f)
{
    char text[HL_NUMBER_BYTES];
    hl_out *out = &gate->out, clean = piece();
    if (gate->is_diff) {
        hl_outf(out, "| %s ", hl_growth_text(text, f, hl_gate_growth(line, f)));
        hl_outf(out, "| %s ", line->in_old ? hl_figure_text(text, f, line->was[f]) : "");
        hl_outf(out, "| %s ", line->in_new ? hl_figure_text(text, f, line->is[f]) : "");
    } else {
        hl_outf(out, "| %s ", hl_figure_text(text, f, line->is[f]));
        hl_outf(out, "| %s ", hl_share_text(text, line->is[f], gate->new.total[f]));
    }
    hl_out_put(out, "| ");
    hl_gate_place(gate, line, f, &clean);
    put_code(out, of(&clean), clean.bytes);
    hl_out_put(out, !gate->is_diff ? "" : !line->in_old ? " *new*" : !line->in_new ? " *gone*" : "");
    clean.bytes = 0;
    hl_gate_source(gate, line, f, &clean);
    hl_out_put(out, " | ");
    put_code(out, of(&clean), clean.bytes);
    hl_out_put(out, " |\n");
    hl_out_release(&clean);
}

static void markdown_rest(hl_gate *gate, const uint32_t *rows, uint32_t from, uint32_t to, hl_figure f,
                          const char *what)
{
    char text[HL_NUMBER_BYTES];
    int64_t growth = 0;
    for (uint32_t i = from; i < to; i++)
        growth += hl_gate_growth(&gate->lines[rows[i]], f);
    if (from >= to)
        return;
    if (gate->is_diff)
        hl_outf(&gate->out, "| %s | | ", hl_growth_text(text, f, growth));
    else
        hl_outf(&gate->out, "| %s ", hl_figure_text(text, f, (uint64_t)growth));
    hl_outf(&gate->out, "| | %u other line%s%s | |\n", to - from, to - from == 1 ? "" : "s", what);
}

static int markdown_lines(hl_gate *gate, hl_figure f)
{
    uint32_t grown, n, head, tail;
    uint32_t *rows = hl_gate_rank(gate, f, &grown, &n);
    if (!rows)
        return -ENOMEM;
    hl_gate_cut(gate, grown, n, &head, &tail);
    hl_outf(&gate->out, "\n%s, %s:\n\n", gate->is_diff ? "Lines by growth" : "Lines", hl_gate_moment(gate, f));
    if (n == 0)
        hl_out_put(&gate->out, gate->is_diff ? "No line grew or shrank.\n" : "There are none.\n");
    else if (gate->is_diff)
        hl_out_put(&gate->out, "| Growth | Old | New | Line | Source |\n| ---: | ---: | ---: | :--- | :--- |\n");
    else
        hl_outf(&gate->out, "| %s | Share | Line | Source |\n| ---: | ---: | :--- | :--- |\n",
                hl_figure_is_count(f) ? "Allocations" : "Bytes");
    for (uint32_t i = 0; i < head; i++)
        markdown_line(gate, &gate->lines[rows[i]], f);
    markdown_rest(gate, rows, head, grown, f, gate->is_diff ? " that grew" : "");
    markdown_rest(gate, rows, grown, tail, f, " that shrank");
    for (uint32_t i = tail; i < n; i++)
        markdown_line(gate, &gate->lines[rows[i]], f);
    free(rows);
    return 0;
}

static void markdown_figures(hl_gate *gate)
{
    static const char *const titles[HL_FIGURES] = {
        "Peak", "Not freed", "Allocated", "Allocations", "Temporary allocations", "RSS peak"};
    char a[HL_NUMBER_BYTES], b[HL_NUMBER_BYTES], c[HL_NUMBER_BYTES], d[HL_NUMBER_BYTES];
    hl_out_put(&gate->out, "\n| | Old | New | Change | |\n| :--- | ---: | ---: | ---: | ---: |\n");
    for (int f = 0; f < HL_FIGURES; f++) {
        uint64_t was = gate->old.total[f], is = gate->new.total[f];
        hl_outf(&gate->out, "| %s | %s | %s | %s | %s |\n", titles[f], hl_figure_text(a, (hl_figure)f, was),
                hl_figure_text(b, (hl_figure)f, is), hl_growth_text(c, (hl_figure)f, (int64_t)(is - was)),
                hl_growth_share(d, was, is));
    }
}

int hl_gate_markdown(hl_gate *gate)
{
    static const char *const outcomes[] = {"passed", "failed", "incomplete"};
    hl_out *out = &gate->out, text = piece();
    hl_outf(out, "### heapline %s", gate->is_diff ? "diff" : "check");
    hl_outf(out, gate->limit_count ? ": %s\n\n" : "\n\n", outcomes[gate->outcome]);
    if (gate->is_diff)
        markdown_side(gate, "Old", &gate->old);
    markdown_side(gate, gate->is_diff ? "New" : "Program", &gate->new);
    if (hl_gate_warning(gate, &text)) {
        hl_out_put(out, "\nNote: ");
        put_code(out, of(&text), text.bytes);
        hl_out_put(out, "\n");
    }
    if (gate->limit_count)
        hl_out_put(out, "\n");
    for (size_t i = 0; i < gate->limit_count; i++) {
        hl_out_put(out, gate->limits[i].over ? "- **FAILED** " : "- ok ");
        hl_gate_sentence(gate, &gate->limits[i], out);
        hl_out_put(out, "\n");
    }
    if (gate->is_diff)
        markdown_figures(gate);
    int error = 0;
    for (int f = 0; f < HL_LINE_FIGURES && !error; f++)
        if (hl_gate_lists(gate, (hl_figure)f))
            error = markdown_lines(gate, (hl_figure)f);
    out->failed |= text.failed;
    hl_out_release(&text);
    return error;
}

/* ----------------------------------------------------------------------------------------------- GitHub annotations */

/* The runner decodes these: https://docs.github.com/actions, "Workflow commands". In properties also ":" and ",". */
static void put_escaped(hl_out *out, const char *text, size_t bytes, bool property)
{
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '%' || text[i] == '\r' || text[i] == '\n' || (property && (text[i] == ':' || text[i] == ',')))
            hl_outf(out, "%%%02X", (unsigned)(unsigned char)text[i]);
        else
            hl_out_add(out, text + i, 1);
    }
}

/* A file as the runner knows it: from the workspace's root, if it is in there; else below the working directory. Null where
 * it is in neither. */
static const char *path_in_workspace(const hl_model_file *file)
{
    bool own = file->origin == HL_ORIGIN_USER || file->origin == HL_ORIGIN_NATIVE;
    const char *root = getenv("GITHUB_WORKSPACE");
    size_t n = root ? strlen(root) : 0;
    while (n && root[n - 1] == '/')
        n--;
    if (n && strncmp(file->path, root, n) == 0 && file->path[n] == '/')
        return file->path + n + 1;
    return own && !strchr("/<[(", file->label[0]) ? file->label : NULL;
}

/* "::error file=app.py,line=3,title=..::" up to the message. */
static void put_command(hl_gate *gate, const char *level, const hl_gate_line *line, hl_figure f)
{
    hl_out *out = &gate->out;
    const hl_model_file *file = NULL;
    uint32_t site = HL_NO_ROW;
    const hl_gate_side *side = line ? hl_gate_shown(gate, line, f, &site) : NULL;
    if (side)
        file = hl_site_file(side->model, site);
    hl_outf(out, "::%s ", level);
    const char *path = file ? path_in_workspace(file) : NULL;
    if (path && side->model->sites.row[site].line > 0) {
        hl_out clean = piece();
        hl_out_clean(&clean, path, strlen(path));
        hl_out_put(out, "file=");
        put_escaped(out, of(&clean), clean.bytes, true);
        hl_outf(out, ",line=%d,", side->model->sites.row[site].line);
        out->failed |= clean.failed;
        hl_out_release(&clean);
    }
    hl_outf(out, "title=heapline %s::", gate->is_diff ? "diff" : "check");
}

static void put_message(hl_gate *gate, const hl_out *message)
{
    put_escaped(&gate->out, of(message), message->bytes, false);
    hl_out_put(&gate->out, "\n");
    gate->out.failed |= message->failed;
}

/* The heaviest lines behind an exceeded limit: the first is the error, the others are warnings. */
static int annotate_limit(hl_gate *gate, const hl_gate_limit *limit)
{
    uint32_t grown = 0, n = 0, head = 0, tail;
    hl_figure f = limit->figure;
    uint32_t *rows = f < HL_LINE_FIGURES ? hl_gate_rank(gate, f, &grown, &n) : NULL;
    if (f < HL_LINE_FIGURES && !rows)
        return -ENOMEM;
    if (rows)
        hl_gate_cut(gate, grown, n, &head, &tail);
    uint64_t least = (gate->new.total[f] - gate->old.total[f]) / 100; /* a hundredth of it is worth a warning */
    for (uint32_t i = 0; i < (head ? head : 1); i++) {
        const hl_gate_line *line = head ? &gate->lines[rows[i]] : NULL;
        if (i && (uint64_t)hl_gate_growth(line, f) < least)
            break;
        char amount[HL_NUMBER_BYTES], now[HL_NUMBER_BYTES];
        hl_out message = piece();
        put_command(gate, i ? "warning" : "error", line, f);
        if (!i)
            hl_gate_sentence(gate, limit, &message);
        if (line) {
            hl_out_put(&message, i ? "" : "\n");
            hl_gate_place(gate, line, f, &message);
            hl_figure_text(now, f, line->is[f]);
            if (gate->is_diff)
                hl_outf(&message, ": %s, now %s (%s%s)", hl_growth_text(amount, f, hl_gate_growth(line, f)), now,
                        hl_gate_moment(gate, f), line->in_old ? "" : ", a new line");
            else
                hl_outf(&message, ": %s, %s (%s)", now, hl_share_text(amount, line->is[f], gate->new.total[f]),
                        hl_gate_moment(gate, f));
        }
        put_message(gate, &message);
        hl_out_release(&message);
    }
    free(rows);
    return 0;
}

int hl_gate_github(hl_gate *gate)
{
    int error = 0;
    hl_out message = piece();
    if (hl_gate_warning(gate, &message)) {
        put_command(gate, "warning", NULL, HL_FIGURE_PEAK);
        put_message(gate, &message);
    }
    for (size_t i = 0; i < gate->limit_count && !error; i++) {
        const hl_gate_limit *limit = &gate->limits[i];
        message.bytes = 0;
        if (limit->over) {
            error = annotate_limit(gate, limit);
        } else {
            put_command(gate, "notice", NULL, limit->figure);
            hl_gate_sentence(gate, limit, &message);
            put_message(gate, &message);
        }
    }
    if (!gate->limit_count) {
        char was[HL_NUMBER_BYTES], is[HL_NUMBER_BYTES], share[HL_NUMBER_BYTES];
        hl_figure f = gate->sort;
        message.bytes = 0;
        put_command(gate, "notice", NULL, f);
        hl_outf(&message, "%s: %s, %s before (%s)", hl_figure_names[f], hl_figure_text(is, f, gate->new.total[f]),
                hl_figure_text(was, f, gate->old.total[f]),
                hl_growth_share(share, gate->old.total[f], gate->new.total[f]));
        put_message(gate, &message);
    }
    if (gate->outcome == HL_INCOMPLETE) {
        message.bytes = 0;
        put_command(gate, "error", NULL, HL_FIGURE_PEAK);
        hl_out_put(&message, "no limit is exceeded by what was recorded, but not everything was");
        put_message(gate, &message);
    }
    hl_out_release(&message);
    return error;
}

/* ------------------------------------------------------------------------------------------------------------ JUnit */

/* Cleaned text has no control characters and is UTF-8; XML also forbids U+FFFE and U+FFFF. */
static void put_xml(hl_out *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const char c = text[i];
        const char *entity = c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '"' ? "&quot;" : NULL;
        bool none = i + 2 < bytes && memcmp(text + i, "\xef\xbf", 2) == 0 && (unsigned char)text[i + 2] >= 0xbe;
        if (entity)
            hl_out_put(out, entity);
        else if (none)
            hl_out_put(out, "?");
        else
            hl_out_add(out, text + i, 1);
        i += none ? 2 : 0;
    }
}

static void put_suite(hl_out *out, const char *command, size_t tests, size_t failures, size_t errors)
{
    hl_outf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"%zu\" failures=\"%zu\" errors=\"%zu\">\n"
            "  <testsuite name=\"heapline %s\" tests=\"%zu\" failures=\"%zu\" errors=\"%zu\">\n",
            tests, failures, errors, command, tests, failures, errors);
}

static int junit_lines(hl_gate *gate, hl_figure f, hl_out *text)
{
    char amount[HL_NUMBER_BYTES];
    uint32_t grown, n, head, tail;
    uint32_t *rows = hl_gate_rank(gate, f, &grown, &n);
    if (!rows)
        return -ENOMEM;
    hl_gate_cut(gate, grown, n, &head, &tail);
    for (uint32_t i = 0; i < head; i++) {
        const hl_gate_line *line = &gate->lines[rows[i]];
        hl_outf(text, "%s  ",
                gate->is_diff ? hl_growth_text(amount, f, hl_gate_growth(line, f))
                              : hl_figure_text(amount, f, line->is[f]));
        hl_gate_place(gate, line, f, text);
        hl_out_put(text, gate->is_diff && !line->in_old ? " (new): " : ": ");
        hl_gate_source(gate, line, f, text);
        hl_out_put(text, "\n");
    }
    if (head < grown)
        hl_outf(text, "(%u other lines)\n", grown - head);
    free(rows);
    return 0;
}

int hl_gate_junit(hl_gate *gate)
{
    static const char unjudged[] = "not everything was recorded";
    hl_out *out = &gate->out;
    size_t failures = 0, errors = 0;
    int error = 0;
    for (size_t i = 0; i < gate->limit_count; i++)
        failures += gate->limits[i].over > 0;
    if (gate->outcome == HL_INCOMPLETE)
        errors = gate->limit_count;
    const char *command = gate->is_diff ? "diff" : "check";
    put_suite(out, command, gate->limit_count, failures, errors);
    for (size_t i = 0; i < gate->limit_count && !error; i++) {
        const hl_gate_limit *limit = &gate->limits[i];
        char bound[HL_NUMBER_BYTES];
        hl_out text = piece();
        hl_outf(out, "    <testcase classname=\"heapline.%s\" name=\"%s at most %s\" time=\"0\">", command,
                hl_figure_names[limit->figure], hl_limit_text(bound, gate, limit));
        hl_gate_sentence(gate, limit, &text);
        if (limit->over) {
            hl_out_put(out, "\n      <failure type=\"limit\" message=\"");
            put_xml(out, of(&text), text.bytes);
            hl_out_put(out, "\">");
            text.bytes = 0;
            if (limit->figure < HL_LINE_FIGURES)
                error = junit_lines(gate, limit->figure, &text);
            put_xml(out, of(&text), text.bytes);
            hl_out_put(out, "</failure>\n    ");
        } else if (gate->outcome == HL_INCOMPLETE) {
            hl_outf(out, "\n      <error type=\"incomplete\" message=\"%s\"/>\n    ", unjudged);
        } else {
            hl_out_put(out, "\n      <system-out>");
            put_xml(out, of(&text), text.bytes);
            hl_out_put(out, "</system-out>\n    ");
        }
        hl_out_put(out, "</testcase>\n");
        out->failed |= text.failed;
        hl_out_release(&text);
    }
    hl_out_put(out, "  </testsuite>\n</testsuites>\n");
    return error;
}

void hl_gate_junit_error(hl_out *out, const char *command, const char *path, const char *why)
{
    hl_out text = piece();
    hl_out_clean(&text, path, strlen(path));
    hl_out_put(&text, ": ");
    hl_out_clean(&text, why, strlen(why));
    put_suite(out, command, 1, 0, 1);
    hl_outf(out,
            "    <testcase classname=\"heapline.%s\" name=\"profile\" time=\"0\">\n      <error type=\"profile\" "
            "message=\"",
            command);
    put_xml(out, of(&text), text.bytes);
    hl_out_put(out, "\"/>\n    </testcase>\n  </testsuite>\n</testsuites>\n");
    out->failed |= text.failed;
    hl_out_release(&text);
}
