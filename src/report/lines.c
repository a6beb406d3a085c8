/*
 * lines: source lines beside what they took, gave back and held. The lines that matter of the user's files, or the files and
 * functions named. What libraries take is charged to the user's line that called them (not with --leaf).
 *
 * Every file's rows add up to its last row, and the files to the total.
 */
#include "report.h"

#include "map.h"
#include "walk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONTEXT = 2 }; /* lines shown around one that matters */

typedef struct figures {
    uint64_t allocated, allocations, freed, frees, peak, live;
    uint64_t below; /* at the peak, with everything that the line called */
} figures;

typedef struct line {
    uint32_t file;
    int32_t line;
    figures own;
} line;

typedef struct lines {
    line *row;
    uint32_t n;
    hl_map map;           /* (file, line) -> row */
    figures *files;       /* by file row */
    figures total, apart; /* of everything; of what has no file */
    bool *elsewhere;      /* by name of the report: a function outside the interpreter's own files has it */
} lines;

static void add_figures(figures *to, const figures *from)
{
    to->allocated += from->allocated; // NOLINT(clang-analyzer-core.NullDereference): a row that there is has memory
    to->allocations += from->allocations;
    to->freed += from->freed;
    to->frees += from->frees;
    to->peak += from->peak;
    to->live += from->live;
}

static bool is_empty(const figures *f)
{
    return !f->allocations && !f->allocated && !f->frees && !f->freed && !f->peak && !f->live;
}

static uint32_t line_row(lines *l, uint32_t file, int32_t number)
{
    uint32_t row = hl_map_row(&l->map, file, (uint32_t)number, l->n);
    if (row != l->n)
        return row;
    if ((row & (row - 1)) == 0) { /* rooms are powers of two */
        line *grown = realloc(l->row, (row ? (size_t)row * 2 : 1) * sizeof *grown);
        if (!grown)
            return HL_NO_ROW;
        l->row = grown;
    }
    l->row[l->n++] = (line){.file = file, .line = number};
    return row;
}

static uint32_t file_of(const hl_model *m, uint32_t function)
{
    return function == HL_NO_ROW ? HL_NO_ROW : m->functions.row[function].file;
}

/* Sums of every line, and of what has no file. */
static int sum_lines(hl_report *r, lines *l)
{
    hl_model *m = r->model;
    uint32_t *keys = malloc((m->frames.n + 1) * sizeof *keys), *of_site = malloc(m->sites.n * sizeof *of_site);
    l->files = calloc(m->files.n + 1, sizeof *l->files);
    int error = keys && of_site && l->files ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < m->sites.n && !error; i++) {
        uint32_t file = file_of(m, m->sites.row[i].function);
        of_site[i] = file == HL_NO_ROW ? HL_NO_ROW : line_row(l, file, m->sites.row[i].line);
        error = file != HL_NO_ROW && of_site[i] == HL_NO_ROW ? -ENOMEM : 0;
    }
    for (uint32_t i = 0; i < m->stats.n && !error; i++) {
        const hl_stat *s = &m->stats.row[i];
        if (!hl_view_takes(&r->view, s))
            continue;
        figures own = {s->allocated, s->allocations, s->freed, s->frees, r->view.stats[i].bytes, s->live, 0};
        const hl_model_stack *stack = &m->stacks.row[s->stack];
        uint32_t row = of_site[r->leaf ? stack->leaf : stack->yours];
        add_figures(row == HL_NO_ROW ? &l->apart : &l->row[row].own, &own);
        if (row != HL_NO_ROW)
            add_figures(&l->files[l->row[row].file], &own);
        add_figures(&l->total, &own);
    }
    hl_weight *below = error ? NULL : calloc(l->n + 1, sizeof *below);
    if (below) {
        for (uint32_t i = 0; i < m->frames.n; i++)
            keys[i] = of_site[m->frames.row[i].site];
        error = hl_walk_sums(m, r->view.stacks, keys, l->n, below);
        for (uint32_t i = 0; i < l->n; i++)
            l->row[i].own.below = below[i].bytes;
    } else if (!error) {
        error = -ENOMEM;
    }
    free(below);
    free(keys);
    free(of_site);
    return error;
}

/* ------------------------------------------------------------------------------------------------ what is shown of it */

/* Lines of one file to show: flags by line number. */
typedef struct shown {
    unsigned char *flag; /* 1: shown */
    int32_t last;        /* highest line number */
} shown;

static bool is_named_file(const hl_model_file *file, const char *name)
{
    size_t n = strlen(file->path), k = strlen(name);
    return strcmp(file->path, name) == 0 || strcmp(file->label, name) == 0 ||
           (n > k && file->path[n - k - 1] == '/' && strcmp(file->path + n - k, name) == 0);
}

/* "fill" is also "Table::fill(int)" and "fill<int>(int)". */
static bool is_named_function(const hl_model_function *function, const char *name)
{
    size_t n = strlen(function->name), k = strlen(name), bare = strcspn(function->name, "(<");
    if (function->native && bare >= k && k && memcmp(function->name + bare - k, name, k) == 0 &&
        (bare == k || function->name[bare - k - 1] == ':' || function->name[bare - k - 1] == ' '))
        return true;
    return strcmp(function->name, name) == 0 ||
           (n > k && function->name[n - k - 1] == '.' && strcmp(function->name + n - k, name) == 0);
}

static int32_t indent_of(const hl_source *source, int32_t number)
{
    size_t bytes = 0, at = 0;
    int32_t indent = 0;
    const char *text = hl_source_line(source, number, &bytes);
    for (; text && at < bytes && (text[at] == ' ' || text[at] == '\t'); at++)
        indent += text[at] == '\t' ? 8 : 1;
    return text && at < bytes && text[at] != '#' ? indent : -1; /* blank lines and comments say nothing */
}

/* Where a function begins; of native ones only lines that allocate are known. */
static int32_t begin_of(const hl_model *m, uint32_t function)
{
    int32_t first = m->functions.row[function].first_line;
    for (uint32_t i = 0; m->functions.row[function].native && i < m->frames.n; i++)
        if (m->frames.row[i].function == function && m->frames.row[i].line > 0 &&
            (first <= 0 || m->frames.row[i].line < first + CONTEXT))
            first = m->frames.row[i].line - CONTEXT;
    return first;
}

/* Where a function ends: before the next line that is indented no deeper, but not before its own last known line. */
static int32_t end_of(const hl_model *m, const hl_source *source, uint32_t function)
{
    int32_t first = begin_of(m, function), last = first, base = indent_of(source, first);
    for (uint32_t i = 0; i < m->frames.n; i++)
        if (m->frames.row[i].function == function && m->frames.row[i].line > last)
            last = m->frames.row[i].line;
    if (m->functions.row[function].native) /* it may be indented in any way */
        return last + CONTEXT;
    int32_t at = first, body = first;
    size_t bytes = 0;
    for (const char *text; (text = hl_source_line(source, at, &bytes)) && at <= last;
         at++) /* decorators and the def itself */
        if (memmem(text, bytes, "def ", 4) || memmem(text, bytes, "class ", 6) || memmem(text, bytes, "lambda", 6))
            break;
    for (at++; hl_source_line(source, at, &bytes); at++) {
        int32_t indent = indent_of(source, at);
        const char *text = hl_source_line(source, at, &bytes);
        if (indent < 0)
            continue;
        if (indent <= base && text[indent < (int32_t)bytes ? indent : 0] != ')' && at > last)
            break;
        body = at;
    }
    return body > last ? body : last;
}

static bool make_shown(shown *s, int32_t last)
{
    *s = (shown){.flag = calloc((size_t)last + 2, 1), .last = last};
    return s->flag != NULL;
}

static void show_range(shown *s, int64_t from, int64_t to)
{
    for (int64_t i = from < 1 ? 1 : from; i <= to && i <= s->last; i++)
        s->flag[i] = 1;
}

/* At least a two-hundredth of anything. */
static bool matters(const figures *f, const figures *total)
{
    return f->peak > total->peak / 200 || f->allocated > total->allocated / 200 || f->live > total->live / 200 ||
           f->allocations > total->allocations / 100;
}

static int32_t last_line(hl_report *r, const lines *l, uint32_t file)
{
    int32_t last = (int32_t)hl_source_of(&r->sources, file)->n;
    for (uint32_t i = 0; i < l->n; i++)
        if (l->row[i].file == file && l->row[i].line > last)
            last = l->row[i].line;
    return last < 10000000 ? last : 10000000;
}

/* Frozen, or of the standard library, in a program that has code of its own. */
static bool is_interpreters(const hl_model *m, uint32_t file)
{
    hl_origin origin = m->files.row[file].origin;
    return origin != m->yours && (origin == HL_ORIGIN_FROZEN || origin == HL_ORIGIN_STDLIB);
}

static bool is_file_named(hl_report *r, uint32_t file)
{
    for (int i = 0; i < r->name_count; i++)
        if (is_named_file(&r->model->files.row[file], r->names[i]))
            return true;
    return false;
}

/* Whether the function has a name that the report asks for. One of the interpreter's own files has it only where no other
 * function has, or when its file is named too. */
static bool is_asked(hl_report *r, const lines *l, uint32_t function)
{
    const hl_model_function *f = &r->model->functions.row[function];
    bool any = f->file != HL_NO_ROW && (!is_interpreters(r->model, f->file) || is_file_named(r, f->file));
    for (int i = 0; i < r->name_count; i++)
        if ((any || !l->elsewhere[i]) && is_named_function(f, r->names[i]))
            return true;
    return false;
}

/* Marks the lines of a file to show. */
static void choose_lines(hl_report *r, const lines *l, uint32_t file, shown *s)
{
    const hl_model *m = r->model;
    const hl_source *source = hl_source_of(&r->sources, file);
    bool named = is_file_named(r, file);
    if (r->whole && (named || !r->name_count)) {
        show_range(s, 1, s->last);
        return;
    }
    for (uint32_t i = 0; i < m->functions.n && r->name_count; i++)
        if (m->functions.row[i].file == file && is_asked(r, l, i))
            show_range(s, begin_of(m, i), end_of(m, source, i));
    for (uint32_t i = 0; i < l->n; i++)
        if (l->row[i].file == file && (named ? !is_empty(&l->row[i].own) || l->row[i].own.below
                                             : !r->name_count && matters(&l->row[i].own, &l->total)))
            show_range(s, (int64_t)l->row[i].line - CONTEXT, (int64_t)l->row[i].line + CONTEXT);
    for (uint32_t i = 0; i < m->frames.n; i++) { /* the def lines of what is shown */
        const hl_model_frame *frame = &m->frames.row[i];
        if (file_of(m, frame->function) != file || frame->line < 1 || frame->line > s->last ||
            s->flag[frame->line] != 1)
            continue;
        int32_t first = m->functions.row[frame->function].first_line;
        if (first > 1 && first <= s->last && !s->flag[first])
            s->flag[first] = 2;
    }
}

/* Keeps the order within both parts. */
static void yours_first(const hl_model *m, hl_ranked *files, uint32_t n)
{
    for (uint32_t i = 0, yours = 0; i < n; i++) {
        if (m->files.row[files[i].row].origin != m->yours)
            continue;
        hl_ranked file = files[i];
        memmove(files + yours + 1, files + yours, (i - yours) * sizeof *files);
        files[yours++] = file;
    }
}

/* Files in the order in which they are shown. From malloc. */
static hl_ranked *choose_files(hl_report *r, const lines *l, uint32_t *n)
{
    const hl_model *m = r->model;
    hl_weight *weights = calloc(m->files.n + 1, sizeof *weights);
    bool *relevant = calloc(m->files.n + 1, 1);
    for (uint32_t i = 0; relevant && i < l->n; i++)
        relevant[l->row[i].file] |=
            r->json || r->whole ? !is_empty(&l->row[i].own) : matters(&l->row[i].own, &l->total);
    for (uint32_t i = 0; weights && relevant && i < m->files.n; i++) {
        bool taken = is_file_named(r, i) || (!r->name_count && relevant[i]);
        for (uint32_t k = 0; !taken && r->name_count && k < m->functions.n; k++)
            taken = m->functions.row[k].file == i && is_asked(r, l, k);
        if (taken)
            weights[i] = (hl_weight){l->files[i].peak, l->files[i].allocated + 1};
    }
    hl_ranked *ranked = weights && relevant ? hl_rank(weights, m->files.n, false, n) : NULL;
    if (ranked && r->name_count)
        yours_first(m, ranked, *n);
    free(weights);
    free(relevant);
    return ranked;
}

/* ------------------------------------------------------------------------------------------------------------- text */

static void put_figures(hl_grid *grid, const figures *f, bool below)
{
    if (is_empty(f)) {
        for (int i = 0; i < 3; i++)
            hl_grid_blank(grid);
    } else {
        hl_grid_size(grid, f->allocated);
        hl_grid_size(grid, f->freed);
        hl_grid_size(grid, f->peak);
    }
    if (below && f->below)
        hl_grid_size(grid, f->below);
    else
        hl_grid_blank(grid);
    if (is_empty(f)) {
        hl_grid_blank(grid);
        hl_grid_blank(grid);
    } else {
        hl_grid_size(grid, f->live);
        hl_grid_count(grid, f->allocations);
    }
}

static void put_source(hl_grid *grid, const char *text, size_t bytes)
{
    char expanded[400];
    size_t used = 0;
    for (size_t i = 0; text && i < bytes && used + 9 < sizeof expanded; i++) {
        if (text[i] != '\t') {
            expanded[used++] = text[i];
            continue;
        }
        do
            expanded[used++] = ' ';
        while (used % 8);
    }
    expanded[used] = '\0';
    hl_grid_text(grid, expanded);
}

static int write_file(hl_report *r, lines *l, uint32_t file)
{
    static const hl_column columns[] = {
        {.title = "Line", .right = true, .style = HL_DIM}, {.title = "Allocated", .right = true},
        {.title = "Freed", .right = true, .drop = 2},      {.title = "At peak", .right = true, .style = HL_BOLD},
        {.title = "With calls", .right = true, .drop = 3}, {.title = "At end", .right = true},
        {.title = "Count", .right = true, .drop = 1},      {.title = "Source", .least = 24, .tail = true},
    };
    const hl_model *m = r->model;
    const hl_source *source = hl_source_of(&r->sources, file);
    shown s;
    if (!make_shown(&s, last_line(r, l, file)))
        return -ENOMEM;
    choose_lines(r, l, file, &s);
    hl_out_put(&r->out, "\n");
    hl_out_style(&r->out, HL_GREEN);
    hl_out_clean(&r->out, m->files.row[file].label, strlen(m->files.row[file].label));
    hl_out_style(&r->out, HL_PLAIN);
    hl_out_put(&r->out, "\n");
    if (!source->n)
        hl_report_remark(r, "(%s)", source->why);
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    figures rest = l->files[file];
    int32_t before = 0;
    for (int32_t at = 1; at <= s.last; at++) {
        if (!s.flag[at])
            continue;
        uint32_t row = hl_map_find(&l->map, file, (uint32_t)at);
        figures none = {0}, *own = row == HL_NO_ROW ? &none : &l->row[row].own;
        if (!source->n && is_empty(own) && !own->below)
            continue;
        if (before && at != before + 1) {
            hl_grid_row(&grid);
            hl_grid_style(&grid, HL_DIM);
            hl_grid_text(&grid, hl_glyph(&r->out, "⋮", ":"));
        }
        before = at;
        rest = (figures){rest.allocated - own->allocated,
                         rest.allocations - own->allocations,
                         rest.freed - own->freed,
                         rest.frees - own->frees,
                         rest.peak - own->peak,
                         rest.live - own->live,
                         0};
        size_t bytes = 0;
        const char *text = hl_source_line(source, at, &bytes);
        hl_grid_row(&grid);
        hl_grid_textf(&grid, "%d", at);
        put_figures(&grid, own, true);
        put_source(&grid, text, bytes);
    }
    if (!is_empty(&rest)) {
        hl_grid_row(&grid);
        hl_grid_style(&grid, HL_DIM);
        hl_grid_blank(&grid);
        put_figures(&grid, &rest, false);
        hl_grid_text(&grid, "(other lines of the file)");
    }
    hl_grid_row(&grid);
    hl_grid_style(&grid, HL_BOLD);
    hl_grid_blank(&grid);
    put_figures(&grid, &l->files[file], false);
    hl_grid_text(&grid, "(the file)");
    hl_grid_end(&grid);
    free(s.flag);
    return 0;
}

static void write_rest(hl_report *r, const lines *l, const figures *rest, uint32_t files)
{
    static const hl_column columns[] = {
        {.title = "", .least = 16},
        {.title = "Allocated", .right = true},
        {.title = "Freed", .right = true, .drop = 2},
        {.title = "At peak", .right = true, .style = HL_BOLD},
        {.title = "", .drop = 3},
        {.title = "At end", .right = true},
        {.title = "Count", .right = true, .drop = 1},
    };
    hl_out_put(&r->out, "\n");
    hl_grid grid = hl_grid_begin(&r->out, columns, sizeof columns / sizeof *columns);
    if (!is_empty(rest)) {
        hl_grid_row(&grid);
        hl_grid_textf(&grid, "%u other file%s", files, files == 1 ? "" : "s");
        put_figures(&grid, rest, false);
    }
    if (!is_empty(&l->apart)) {
        hl_grid_row(&grid);
        hl_grid_text(&grid, r->model->native_only ? "no known stack" : "no line of Python");
        put_figures(&grid, &l->apart, false);
    }
    hl_grid_row(&grid);
    hl_grid_style(&grid, HL_BOLD);
    hl_grid_text(&grid, "total");
    put_figures(&grid, &l->total, false);
    hl_grid_end(&grid);
    hl_out_put(&r->out, "\n");
    hl_report_remark(r,
                     "Allocated = freed later + alive at the end.%s%s Blank: the line took nothing itself, or was not "
                     "run; how often "
                     "lines run is not part of this recording.",
                     r->leaf ? "" : " What a library takes counts for the line of yours that called it.",
                     r->out.terminal.width >= 100 ? " With calls: at the peak, with all that the line called." : "");
}

static int write_text(hl_report *r, lines *l, const hl_ranked *files, uint32_t n)
{
    int error = hl_report_head(r);
    figures rest = {0};
    uint32_t others = 0, limit = r->name_count || r->rows == HL_ALL_ROWS ? n : (uint32_t)r->rows;
    for (uint32_t i = 0; i < n && i < limit && !error; i++)
        error = write_file(r, l, files[i].row);
    for (uint32_t i = 0; i < r->model->files.n; i++) {
        bool is_shown = false;
        for (uint32_t k = 0; k < n && k < limit; k++)
            is_shown = is_shown || files[k].row == i;
        if (!is_shown && !is_empty(&l->files[i])) {
            add_figures(&rest, &l->files[i]);
            others++;
        }
    }
    if (!error && !(is_empty(&l->total) && hl_report_nothing(r)))
        write_rest(r, l, &rest, others);
    return error;
}

/* ------------------------------------------------------------------------------------------------------------- JSON */

static int compare_lines(const void *a, const void *b)
{
    const line *x = a, *y = b;
    return x->file != y->file ? (x->file < y->file ? -1 : 1) : x->line < y->line ? -1 : x->line > y->line;
}

/* The first row of a file among sorted ones. */
static uint32_t first_of(const lines *l, uint32_t file)
{
    uint32_t low = 0, high = l->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->row[middle].file < file)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void json_figures(hl_json *json, const figures *f)
{
    hl_json_int(json, "allocated_bytes", (int64_t)f->allocated);
    hl_json_int(json, "allocations", (int64_t)f->allocations);
    hl_json_int(json, "freed_bytes", (int64_t)f->freed);
    hl_json_int(json, "frees", (int64_t)f->frees);
    hl_json_int(json, "peak_bytes", (int64_t)f->peak);
    hl_json_int(json, "end_bytes", (int64_t)f->live);
}

/* Marks the lines of the functions that are asked for; all of a file that is asked for itself. */
static bool mark_named(hl_report *r, const lines *l, uint32_t file, shown *s)
{
    const hl_model *m = r->model;
    if (!make_shown(s, last_line(r, l, file)))
        return false;
    if (is_file_named(r, file))
        memset(s->flag, 1, (size_t)s->last + 1);
    const hl_source *source = hl_source_of(&r->sources, file);
    for (uint32_t i = 0; i < m->functions.n; i++)
        if (m->functions.row[i].file == file && is_asked(r, l, i))
            show_range(s, begin_of(m, i), end_of(m, source, i));
    return true;
}

static int write_json(hl_report *r, lines *l, const hl_ranked *files, uint32_t n)
{
    hl_json json = hl_report_json(r, "heapline.lines/1");
    if (l->n)
        qsort(l->row, l->n, sizeof *l->row, compare_lines);
    hl_json_array(&json, "files");
    for (uint32_t i = 0; i < n; i++) {
        const hl_model_file *file = &r->model->files.row[files[i].row];
        shown named = {0};
        if (r->name_count && !mark_named(r, l, files[i].row, &named))
            return -ENOMEM;
        hl_json_object(&json, NULL);
        hl_json_text(&json, "file", file->path);
        json_figures(&json, &l->files[files[i].row]);
        hl_json_array(&json, "lines");
        for (uint32_t k = first_of(l, files[i].row); k < l->n && l->row[k].file == files[i].row; k++) {
            const line *at = &l->row[k];
            if (is_empty(&at->own) && !at->own.below)
                continue;
            size_t bytes = 0;
            const char *text = hl_source_line(hl_source_of(&r->sources, at->file), at->line, &bytes);
            hl_json_row(&json, NULL);
            hl_json_int(&json, "line", at->line);
            json_figures(&json, &at->own);
            hl_json_int(&json, "peak_with_calls_bytes", (int64_t)at->own.below);
            if (text)
                hl_json_bytes(&json, "source", text, bytes);
            else
                hl_json_null(&json, "source");
            if (r->name_count)
                hl_json_bool(&json, "named",
                             named.flag && at->line >= 0 && at->line <= named.last && named.flag[at->line]);
            hl_json_end(&json);
        }
        free(named.flag);
        hl_json_end(&json);
        hl_json_end(&json);
    }
    hl_json_end(&json);
    hl_json_object(&json, "no_file");
    json_figures(&json, &l->apart);
    hl_json_end(&json);
    hl_json_object(&json, "total");
    json_figures(&json, &l->total);
    hl_json_end(&json);
    hl_json_end(&json);
    return 0;
}

static int check_names(hl_report *r, lines *l)
{
    l->elsewhere = calloc((size_t)r->name_count + 1, sizeof *l->elsewhere);
    if (!l->elsewhere)
        return -ENOMEM;
    const hl_model *m = r->model;
    for (int n = 0; n < r->name_count; n++) {
        bool known = false;
        for (uint32_t i = 0; i < m->files.n && !known; i++)
            known = is_named_file(&m->files.row[i], r->names[n]);
        for (uint32_t i = 0; i < m->functions.n && !l->elsewhere[n]; i++) {
            if (!is_named_function(&m->functions.row[i], r->names[n]))
                continue;
            known = true;
            l->elsewhere[n] = m->functions.row[i].file != HL_NO_ROW && !is_interpreters(m, m->functions.row[i].file);
        }
        if (!known) {
            snprintf(r->why, sizeof r->why,
                     "no file or function \"%.200s\" took memory (heapline summary lists functions)", r->names[n]);
            return -ENOENT;
        }
    }
    return 0;
}

int hl_report_lines(hl_report *r)
{
    lines l = {0};
    uint32_t n = 0;
    int error = check_names(r, &l);
    if (!error)
        error = sum_lines(r, &l);
    hl_ranked *files = error ? NULL : choose_files(r, &l, &n);
    if (files && r->json)
        error = write_json(r, &l, files, n);
    else if (files)
        error = write_text(r, &l, files, n);
    else if (!error)
        error = -ENOMEM;
    free(files);
    free(l.row);
    free(l.files);
    free(l.elsewhere);
    hl_map_release(&l.map);
    return error;
}
