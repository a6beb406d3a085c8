/* See report.h. */
#include "report.h"

#include "profile.h"
#include "registry.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const hl_colour_choices[] = {"auto", "always", "never", NULL};

/* "--temporary 16" means --temporary=16: the number's place is taken by nothing else. */
static char *join_temporary(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--temporary") != 0 || !*argv[i + 1] || argv[i + 1][strspn(argv[i + 1], "0123456789")])
            continue;
        char *joined;
        if (asprintf(&joined, "--temporary=%s", argv[i + 1]) < 0)
            return NULL;
        argv[i] = joined;
        memmove(argv + i + 1, argv + i + 2, (size_t)(argc - i - 1) * sizeof *argv); /* the null too */
        return joined;
    }
    return NULL;
}

static int choose_moment(const hl_syntax *syntax, const hl_report_options *o, hl_selection *selection)
{
    int given = (o->at != NULL) + o->leaks + o->allocated + (o->temporary != HL_NO_TEMPORARY);
    if (given > 1)
        return hl_options_mistake(syntax, "--at, --leaks, --allocated and --temporary exclude each other");
    if (o->leaks)
        selection->moment = HL_LEAKED;
    else if (o->allocated)
        selection->moment = HL_ALLOCATED;
    else if (o->temporary != HL_NO_TEMPORARY)
        *selection = (hl_selection){.moment = HL_TEMPORARY, .within = o->temporary};
    else if (!o->at || strcmp(o->at, "peak") == 0)
        selection->moment = HL_AT_PEAK;
    else if (strcmp(o->at, "end") == 0)
        selection->moment = HL_AT_END;
    else if (hl_time_parse(o->at, 0, &selection->time_ns) == 0)
        selection->moment = HL_AT_TIME;
    else
        return hl_options_mistake(
            syntax, "--at %s: neither peak, end, a time (12.5s, 850ms, 2m) nor a share of the run (80%%)", o->at);
    if (!o->since)
        return -1;
    if (selection->moment != HL_AT_TIME && selection->moment != HL_AT_END && selection->moment != HL_LEAKED)
        return hl_options_mistake(syntax, "--since goes with --leaks, --at end or --at TIME");
    if (hl_time_parse(o->since, 0, &selection->since_ns) != 0)
        return hl_options_mistake(syntax, "--since %s: neither a time (12.5s, 850ms, 2m) nor a share of the run (80%%)",
                                  o->since);
    return -1;
}

void hl_report_complain(const char *path, const char *why) { hl_error("%s: %s", *path ? path : "''", why); }

static int complain(const char *path, const char *why, int error)
{
    hl_report_complain(path, *why ? why : hl_error_text(error));
    return HL_EXIT_NOT_A_PROFILE;
}

static int has_started_at(const hl_recorded *recorded, hl_session *session, void *start_unix_ns)
{
    (void)session;
    return recorded->start_unix_ns == *(const int64_t *)start_unix_ns;
}

bool hl_report_is_recorded(const hl_model *model)
{
    int64_t start_unix_ns = hl_model_number(model, "start_unix_ns", -1);
    return hl_registry_each(has_started_at, &start_unix_ns) != 0;
}

static int write_out(hl_report *r)
{
    int error = hl_out_write(&r->out, STDOUT_FILENO);
    if (error == 0 || error == -EPIPE) /* the reader has seen enough */
        return HL_EXIT_OK;
    hl_error("cannot write the report: %s", hl_error_text(error));
    return HL_EXIT_NOT_A_PROFILE;
}

/* A time that reads as the length of the recording, or all of it, is its end; one past it is an error with words in `why`. */
static int choose_time(hl_report *r, const char *at, hl_selection *selection)
{
    enum { ROUNDED_NS = 5000000 }; /* lengths are shown to 10 ms, or more coarsely */
    char asked[HL_NUMBER_BYTES], length[HL_NUMBER_BYTES];
    uint64_t now_ns = r->model->now_ns;
    hl_time_parse(at, now_ns, &selection->time_ns);
    bool reads_same = strcmp(hl_time_text(asked, selection->time_ns), hl_time_text(length, now_ns)) == 0 ||
                      selection->time_ns == now_ns;
    if (selection->time_ns > now_ns && !reads_same) {
        snprintf(r->why, sizeof r->why, "--at %.40s: that is past its end, it is %s long%s (--at end)", at, length,
                 r->model->watched ? " by now" : "");
        return -ENOENT;
    }
    if (reads_same && selection->time_ns + ROUNDED_NS >= now_ns)
        selection->moment = HL_AT_END;
    return 0;
}

/* -ENOENT with words in `why` where it is not before the moment that is asked for. */
static int choose_since(hl_report *r, const char *since, hl_selection *selection)
{
    uint64_t now_ns = r->model->now_ns;
    hl_time_parse(since, now_ns, &selection->since_ns);
    if (selection->since_ns <= (selection->moment == HL_AT_TIME ? selection->time_ns : now_ns))
        return 0;
    if (selection->moment == HL_AT_TIME)
        snprintf(r->why, sizeof r->why, "--since %.40s: that is after --at", since);
    else
        snprintf(r->why, sizeof r->why, "--since %.40s: that is past the end of the recording", since);
    return -ENOENT;
}

/* ------------------------------------------------------------------------------------------------ the same as a page */

static int check_html(const hl_syntax *syntax, const hl_report_options *o)
{
    if (!o->output)
        return o->force ? hl_options_mistake(syntax, "-f goes with -o") : -1;
    if (o->json || o->csv)
        return hl_options_mistake(syntax, "-o writes an HTML report: it does not go with --json or --csv");
    size_t n = strlen(o->output);
    bool html = (n > 5 && strcasecmp(o->output + n - 5, ".html") == 0) ||
                (n > 4 && strcasecmp(o->output + n - 4, ".htm") == 0) || strcmp(o->output, "-") == 0;
    if (!html)
        return hl_options_mistake(syntax, "-o %s: the name of an HTML report ends with .html (text goes to stdout)",
                                  o->output);
    return -1;
}

/* Regions have any characters. */
static void put_encoded(hl_out *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
        hl_outf(out, plain ? "%c" : "%%%02X", c);
    }
}

/* The selection in the words of the page's address: "view=table&at=end&process=0". */
static void put_state(hl_out *out, const hl_report *r, const hl_selection *s, const char *view, uint32_t process)
{
    hl_outf(out, "view=%s", view);
    if (s->moment == HL_AT_END || s->moment == HL_LEAKED)
        hl_out_put(out, "&at=end");
    else if (s->moment == HL_ALLOCATED)
        hl_out_put(out, "&at=allocated");
    else if (s->moment == HL_TEMPORARY)
        hl_outf(out, "&at=temporary&within=%llu", (unsigned long long)s->within);
    else if (s->moment == HL_AT_TIME)
        hl_outf(out, "&at=range&show=%s&from=%.9f&to=%.9f", s->since_ns ? "born" : "alive", (double)s->since_ns / 1e9,
                (double)s->time_ns / 1e9);
    if (process != HL_NO_ROW)
        hl_outf(out, "&process=%u", process);
    for (uint32_t i = 0; s->thread && i < r->model->threads.n; i++) {
        const hl_model_thread *thread = &r->model->threads.row[i];
        if (thread->base == i && strcmp(thread->name, s->thread) == 0) {
            hl_outf(out, "&thread=%u", i);
            break;
        }
    }
    if (s->region) {
        hl_out_put(out, "&region=");
        put_encoded(out, s->region);
    }
    if (r->leaf)
        hl_out_put(out, "&leaf=1");
}

/* The view, which was opened, tells whether what is asked for is there; the page computes its own. */
static int write_page(hl_report *r, const hl_syntax *syntax, const hl_report_options *o)
{
    const char *view = strcmp(syntax->name, "lines") == 0      ? "source"
                       : strcmp(syntax->name, "profiled") == 0 ? "lines"
                                                               : syntax->name;
    hl_page_options page = {.output = o->output, .force = o->force, .budget = HL_PAGE_BUDGET, .editor = hl_page_editor};
    hl_out state;
    hl_out_begin(&state, (hl_terminal){.width = 80, .utf8 = true});
    put_state(&state, r, &r->view.selection, view, r->view.process);
    hl_out_add(&state, "", 1);
    int status = state.failed ? complain(r->path, "", -ENOMEM) : hl_page_make(r->path, r->model, view, state.at, &page);
    hl_out_release(&state);
    return status;
}

/* ------------------------------------------------------------------------------------------------------------- all */

static int make(hl_report *r, const hl_syntax *syntax, const hl_report_options *o, hl_selection selection,
                hl_report_writer *writer, const char *path)
{
    int error = selection.moment == HL_AT_TIME ? choose_time(r, o->at, &selection) : 0;
    if (!error && o->since)
        error = choose_since(r, o->since, &selection);
    selection.pid = (int64_t)o->pid;
    selection.thread = o->thread;
    selection.region = o->region;
    error = error ? error : hl_view_open(&r->view, r->model, &selection, r->why, sizeof r->why);
    if (error) {
        complain(path, r->why, error);
        return error == -ENOENT ? HL_EXIT_USAGE : HL_EXIT_NOT_A_PROFILE; /* asked for what it has not */
    }
    if (o->output) {
        int status = write_page(r, syntax, o);
        hl_view_release(&r->view);
        return status;
    }
    error = hl_sources_begin(&r->sources, r->model);
    if (!error)
        error = writer(r);
    int status = error ? complain(path, r->why, error) : write_out(r);
    if (error == -ENOENT)
        status = HL_EXIT_USAGE;
    hl_sources_release(&r->sources);
    hl_view_release(&r->view);
    return status;
}

int hl_report_command(const hl_syntax *syntax, int argc, char **argv, hl_report_writer *writer, uint64_t rows,
                      uint64_t json_rows, bool takes_names)
{
    hl_report_options o = {.temporary = HL_NO_TEMPORARY, .rows = HL_NO_NUMBER};
    hl_selection selection = {0};
    char *joined = join_temporary(argc, argv);
    if (joined)
        argc--;
    int status = hl_options_parse(syntax, &argc, argv, &o);
    if (status < 0)
        status = choose_moment(syntax, &o, &selection);
    if (status < 0 && argc == 0)
        status = hl_options_mistake(syntax, "which profile? (name the file that heapline run wrote)");
    if (status < 0 && argc > 1 && !takes_names)
        status = hl_options_mistake(syntax, "%s: one profile at a time", argv[1]);
    if (status < 0 && o.json && o.csv)
        status = hl_options_mistake(syntax, "--json and --csv exclude each other");
    if (status < 0)
        status = check_html(syntax, &o);
    if (status < 0 && o.compact && !o.json && writer != hl_report_profiled)
        status = hl_options_mistake(syntax, "--compact goes with --json");
    if (status < 0 && o.python_only && o.native_only)
        status = hl_options_mistake(syntax, "--python-only and --native-only exclude each other");
    if (status >= 0) {
        free(joined);
        return status;
    }
    signal(SIGPIPE, SIG_IGN); /* a pipe that closes early is told by write */

    hl_report r = {.path = argv[0],
                   .json = o.json,
                   .csv = o.csv,
                   .compact = o.compact,
                   .leaf = o.leaf || o.native_only,
                   .whole = o.whole,
                   .sort = (hl_sort)o.sort,
                   .names = argv + 1,
                   .name_count = argc - 1};
    r.rows = o.rows != HL_NO_NUMBER ? o.rows : o.csv ? HL_ALL_ROWS : o.json ? json_rows : rows;
    hl_out_begin(&r.out, hl_terminal_of(STDOUT_FILENO, (hl_colour)o.colour));
    if (r.json || r.csv)
        r.out.terminal.colour = false;
    hl_profile *profile;
    int error = hl_profile_open(&profile, r.path, r.why, sizeof r.why);
    if (error) {
        status = complain(r.path, r.why, error);
    } else {
        error = hl_model_load(&r.model, hl_profile_database(profile),
                              o.python_only   ? HL_FRAMES_PYTHON
                              : o.native_only ? HL_FRAMES_NATIVE
                                              : HL_FRAMES_ALL,
                              r.why, sizeof r.why);
        if (!error && r.model->running)
            r.model->watched = hl_report_is_recorded(r.model);
        status = error ? complain(r.path, r.why, error) : make(&r, syntax, &o, selection, writer, r.path);
        if (error == -ENOENT) /* asked for what it has not */
            status = HL_EXIT_USAGE;
        if (!error)
            hl_model_release(r.model);
        hl_profile_close(profile);
    }
    hl_out_release(&r.out);
    free(joined);
    return status;
}
