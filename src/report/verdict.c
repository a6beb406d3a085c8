/* See verdict.h. */
#include "verdict.h"

#include "curve.h"
#include "number.h"
#include "profile.h"
#include "profiled.h"
#include "words.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct signal_words {
    int number;
    const char *name, *words;
} signals[] = {
    {SIGHUP, "SIGHUP", "hang-up"},
    {SIGINT, "SIGINT", "interrupted"},
    {SIGQUIT, "SIGQUIT", "quit"},
    {SIGILL, "SIGILL", "illegal instruction"},
    {SIGTRAP, "SIGTRAP", "trap"},
    {SIGABRT, "SIGABRT", "aborted"},
    {SIGBUS, "SIGBUS", "bus error"},
    {SIGFPE, "SIGFPE", "arithmetic error"},
    {SIGKILL, "SIGKILL", ""},
    {SIGUSR1, "SIGUSR1", ""},
    {SIGSEGV, "SIGSEGV", "segmentation fault"},
    {SIGUSR2, "SIGUSR2", ""},
    {SIGPIPE, "SIGPIPE", "its reader had gone"},
    {SIGALRM, "SIGALRM", "alarm"},
    {SIGTERM, "SIGTERM", "asked to end"},
    {SIGXCPU, "SIGXCPU", "CPU time limit"},
    {SIGXFSZ, "SIGXFSZ", "file size limit"},
    {SIGSYS, "SIGSYS", "forbidden system call"},
};

static const struct signal_words *find_signal(int64_t number)
{
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signals[i].number == number)
            return &signals[i];
    return NULL;
}

const char *hl_signal_name(int64_t number)
{
    const struct signal_words *found = find_signal(number);
    return found ? found->name : NULL;
}

/* How the program ended: -1 is unknown. */
typedef struct ending {
    int64_t status, number; /* of the signal */
    uint64_t time_ns;
} ending;

static ending ending_of(const hl_model *m)
{
    int64_t end_ns = hl_model_number(m, "root_end_ns", -1);
    return (ending){.status = hl_model_number(m, "exit_status", -1),
                    .number = hl_model_number(m, "signal", -1),
                    .time_ns = end_ns >= 0 ? (uint64_t)end_ns : m->now_ns};
}

static bool ended_badly(const hl_model_recording *r) { return r->signal >= 0 || r->exit_status > 0; }

static bool did_not_end(const hl_model_recording *r) { return r->signal < 0 && r->exit_status < 0; }

/* Of a merged profile: "in 3 recordings: 1 failed (r1.heapline by SIGKILL) within 5.20 s". */
static void put_endings(const hl_model *m, hl_out *out)
{
    char time[HL_NUMBER_BYTES];
    const hl_model_recording *first = NULL;
    uint32_t bad = 0, open = 0, stopped = 0;
    for (uint32_t i = 0; i < m->recordings.n; i++) {
        const hl_model_recording *r = &m->recordings.row[i];
        bad += ended_badly(r);
        bool was_stopped = did_not_end(r) && strcmp(r->state, "stopped") == 0;
        stopped += was_stopped;
        open += did_not_end(r) && !was_stopped;
        if (!first && ended_badly(r))
            first = r;
    }
    hl_outf(out, "in %u recording%s: ", m->recordings.n, m->recordings.n == 1 ? "" : "s");
    if (!bad && !open && !stopped)
        hl_out_put(out, "all ended well");
    if (first) {
        const char *name = first->signal >= 0 ? hl_signal_name(first->signal) : NULL;
        hl_outf(out, "%u failed (", bad);
        hl_out_clean(out, first->name, strlen(first->name));
        if (first->oom_scope)
            hl_out_put(out, ": out of memory");
        else if (name)
            hl_outf(out, " by %s", name);
        else if (first->signal >= 0)
            hl_outf(out, " by signal %d", (int)first->signal);
        else
            hl_outf(out, " with exit status %d", (int)first->exit_status);
        hl_out_put(out, bad > 1 ? ", ..)" : ")");
    }
    if (open)
        hl_outf(out, "%s%u had not ended", bad ? ", " : "", open);
    if (stopped)
        hl_outf(out, "%s%u until %s stopped", bad || open ? ", " : "", stopped, stopped == 1 ? "it was" : "they were");
    hl_outf(out, " within %s", hl_time_text(time, m->now_ns));
}

static void put_ending(const hl_model *m, ending e, hl_out *out)
{
    if (m->recordings.n) {
        put_endings(m, out);
        return;
    }
    char time[HL_NUMBER_BYTES], size[HL_NUMBER_BYTES];
    int64_t status = e.status, number = e.number;
    const char *scope = hl_model_text(m, "oom_scope", NULL);
    hl_time_text(time, e.time_ns);
    if (scope && number >= 0) {
        int64_t limit = hl_model_number(m, "oom_limit", 0);
        hl_out_put(out, "was killed: out of memory (");
        hl_out_clean(out, scope, strlen(scope));
        hl_outf(out, limit > 0 ? ", limit %s) after %s" : "%.0s) after %s", hl_size_text(size, limit), time);
    } else if (number >= 0) {
        const struct signal_words *found = find_signal(number);
        if (!found)
            hl_outf(out, "was killed by signal %d after %s", (int)number, time);
        else
            hl_outf(out, *found->words ? "was killed by %s (%s) after %s" : "was killed by %s%s after %s", found->name,
                    found->words, time);
    } else if (status >= 0) {
        hl_outf(out, status ? "failed with exit status %d after %s" : "ended well (exit status %d) after %s",
                (int)status, time);
    } else if (m->running) {
        hl_outf(out,
                m->watched ? "is still running; this is its first %s"
                           : "was still running at %s, when this profile was last saved",
                time);
    } else if (m->stopped) {
        hl_outf(out, "was recorded for %s, until the recording was stopped", time);
    } else {
        hl_outf(out, "was recorded for %s; nobody saw how it ended", time);
    }
}

void hl_verdict_ending(const hl_model *m, hl_out *out) { put_ending(m, ending_of(m), out); }

void hl_verdict_place(const hl_model *m, uint32_t site, hl_out *out)
{
    const hl_model_file *file = hl_site_file(m, site);
    const char *function = hl_site_function(m, site);
    if (file && strcmp(file->label, function) != 0) { /* "[generated code]" is in no file */
        hl_out_clean(out, file->label, strlen(file->label));
        if (m->sites.row[site].line > 0)
            hl_outf(out, ":%d", m->sites.row[site].line);
        if (strcmp(function, "<module>") == 0)
            return;
        hl_out_put(out, " in ");
    }
    hl_out_clean(out, function, strlen(function));
}

uint32_t hl_verdict_heaviest(const hl_model *m, const hl_weight *sites)
{
    uint32_t best = HL_NO_ROW;
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->sites.n; i++) {
        total += sites[i].bytes;
        if (m->sites.row[i].kind == HL_SITE_LINE && sites[i].bytes &&
            (best == HL_NO_ROW || sites[i].bytes > sites[best].bytes))
            best = i;
    }
    for (uint32_t i = 0; i < m->sites.n; i++)
        if (m->sites.row[i].kind != HL_SITE_LINE && sites[i].bytes && (best == HL_NO_ROW || sites[i].bytes > total / 2))
            best = i;
    return best;
}

/* ", 87.2 % of it at app.py:42 in load" of the moment's memory. */
static int put_heaviest(hl_model *m, hl_moment moment, hl_out *out, const char *before)
{
    hl_view view;
    char why[128], share[HL_NUMBER_BYTES];
    int error = hl_view_open(&view, m, &(hl_selection){.moment = moment}, why, sizeof why);
    if (error)
        return error;
    hl_weight *sites = hl_view_by_site(&view, false);
    uint32_t best = sites ? hl_verdict_heaviest(m, sites) : HL_NO_ROW;
    if (best != HL_NO_ROW) {
        bool place = hl_site_file(m, best) != NULL;
        hl_outf(out, place ? "%s%s of it at " : "%s%s of it by ", before,
                hl_share_text(share, sites[best].bytes, view.total.bytes));
        if (best == HL_SITE_NO_PYTHON)
            hl_out_put(out, m->native_only ? "code without a known stack" : "native code with no Python frame");
        else if (best == HL_SITE_STARTUP)
            hl_out_put(out, "the interpreter's start-up");
        else
            hl_verdict_place(m, best, out);
    }
    error = sites ? 0 : -ENOMEM;
    free(sites);
    hl_view_release(&view);
    return error;
}

static int put_peak(hl_model *m, hl_out *out)
{
    char size[HL_NUMBER_BYTES], time[HL_NUMBER_BYTES], bound[HL_NUMBER_BYTES];
    if (m->recorded == 0) {
        hl_out_put(out, "nothing was recorded");
        return 0;
    }
    if (m->recordings.n && m->recorded > 1)
        hl_outf(out, "peaks add up to %s, together at least %s at %s", hl_size_text(size, (int64_t)m->peak),
                hl_size_text(bound, (int64_t)m->peak_seen), hl_time_text(time, m->peak_ns));
    else
        hl_outf(out, "peak %s at %s", hl_size_text(size, (int64_t)m->peak), hl_time_text(time, m->peak_ns));
    if (m->recorded > 1 && m->peak_bound > m->peak && strcmp(hl_size_text(bound, (int64_t)m->peak_bound), size) != 0)
        hl_outf(out, " (at most %s)", bound);
    return put_heaviest(m, HL_AT_PEAK, out, ", ");
}

/* How fast the heap grew before the end: from when it was last half as large to when it stood still, since a program that
 * runs out of memory may hang in its last allocation for long. */
static int put_growth(hl_model *m, hl_out *out)
{
    hl_curve curve;
    char why[128], size[HL_NUMBER_BYTES], from[HL_NUMBER_BYTES], time[HL_NUMBER_BYTES], rate[HL_NUMBER_BYTES];
    int error = hl_curve_load(&curve, m, HL_NO_ROW, why, sizeof why);
    if (error)
        return error;
    if (curve.n > 0) {
        const hl_point *last = &curve.point[curve.n - 1], *half = &curve.point[0];
        for (uint32_t i = 0; i < curve.n; i++)
            if (curve.point[i].heap <= last->heap / 2)
                half = &curve.point[i];
        while (last > half + 1 && last[-1].heap == last->heap)
            last--;
        uint64_t took_ns = last->end_ns > half->end_ns ? last->end_ns - half->end_ns : m->tick_ns;
        hl_outf(out, "%s alive when it ended", hl_size_text(size, (int64_t)last->heap));
        if (last->heap > half->heap)
            hl_outf(out, ", up from %s within %s (%s/s)", hl_size_text(from, (int64_t)half->heap),
                    hl_time_text(time, took_ns),
                    hl_size_text(rate, (int64_t)((double)(last->heap - half->heap) * 1e9 / (double)took_ns)));
    }
    hl_curve_release(&curve);
    return 0;
}

static bool ran_out(const hl_model *m)
{
    return hl_model_text(m, "oom_scope", NULL) && hl_model_number(m, "signal", -1) >= 0;
}

static void put_command(const hl_model *m, hl_out *out, int columns)
{
    hl_out clean;
    hl_out_begin(&clean, out->terminal);
    const char *command = hl_model_text(m, "command", "the program");
    hl_out_clean(&clean, command, strlen(command));
    if (clean.bytes)
        hl_out_middle(out, clean.at, clean.bytes, columns);
    hl_out_release(&clean);
}

/* What a library gave out by itself is in no number of the heap: nobody must miss it where it is more than a tenth of that. */
static void put_unseen(const hl_model *m, hl_out *out, const char *before, const char *behind)
{
    char owners[256], size[HL_NUMBER_BYTES];
    int64_t pool = hl_model_number(m, "pool_peak", 0);
    const char *who = m->has_pools ? hl_model_pool_owners(m, HL_NO_ROW, owners, sizeof owners) : NULL;
    if (!who || pool < 0 || (uint64_t)pool <= m->peak / 10)
        return;
    hl_outf(out, "%sup to %s that ", before, hl_size_text(size, pool));
    hl_out_clean(out, who, strlen(who));
    hl_outf(out, " gave out by itself%s", behind);
}

/* Why less of the program itself is recorded than of others; of Python the notes say it. */
static bool put_in_part(const hl_model *m, hl_out *out, const char *before)
{
    const hl_model_process *p = m->processes.n ? &m->processes.row[0] : NULL;
    if (!p || p->python || !*p->reason || strcmp(p->recorded, "nothing") == 0)
        return false;
    hl_out_put(out, before);
    hl_out_clean(out, p->reason, strlen(p->reason));
    return true;
}

int hl_verdict_head(hl_model *m, hl_out *out)
{
    int64_t status = hl_model_number(m, "exit_status", -1);
    bool bad = status > 0 || hl_model_number(m, "signal", -1) >= 0;
    for (uint32_t i = 0; i < m->recordings.n; i++)
        bad |= ended_badly(&m->recordings.row[i]);
    hl_out_style(out, bad ? HL_RED : HL_BOLD);
    put_command(m, out, out->terminal.width - 42 > 24 ? out->terminal.width - 42 : 24);
    hl_out_put(out, " ");
    hl_verdict_ending(m, out);
    hl_out_style(out, HL_PLAIN);
    hl_out_put(out, "\n");
    int error = 0;
    if (ran_out(m)) {
        error = put_growth(m, out);
        error = error ? error : put_heaviest(m, HL_AT_END, out, ", ");
        hl_out_put(out, "\n");
    }
    hl_out_style(out, HL_BOLD);
    error = error ? error : put_peak(m, out);
    hl_out_style(out, HL_PLAIN);
    hl_out_put(out, "\n");
    char count[HL_NUMBER_BYTES];
    int64_t lost = hl_model_number(m, "lost", 0);
    hl_out_style(out, HL_YELLOW);
    bool in_part = put_in_part(m, out, "recorded in part: ");
    put_unseen(m, out, in_part ? "; " : "not in these numbers: ", in_part ? "" : " (heapline stats has more)\n");
    hl_out_put(out, in_part ? "\n" : "");
    hl_out_style(out, HL_PLAIN);
    if (lost > 0) {
        hl_out_style(out, HL_YELLOW);
        hl_outf(out, "incomplete: %s events were not recorded\n", hl_count_text(count, (uint64_t)lost));
        hl_out_style(out, HL_PLAIN);
    }
    return error;
}

/* What there is to say before the verdict when not all, or nothing, of the recording is in the file. */
static void put_lost(const hl_model *m, const char *path, const hl_verdict_seen *seen, hl_out *out)
{
    char gone[HL_NUMBER_BYTES], kept[HL_NUMBER_BYTES];
    hl_out_put(out, "heapline: ");
    hl_out_clean(out, path, strlen(path));
    if (m == NULL && seen->lost == NULL)
        hl_out_put(out, ": another recording has written this file since, and the profile of this one is gone\n");
    else if (m == NULL)
        hl_outf(out, ": %s: nothing of this recording could be saved (the file there is of an earlier one)\n",
                seen->lost);
    else
        hl_outf(out, ": %s: the last %s of the recording are lost, the profile holds the first %s\n", seen->lost,
                hl_time_text(gone, seen->end_ns > m->now_ns ? seen->end_ns - m->now_ns : 0),
                hl_time_text(kept, m->now_ns));
}

/* Of a whole profile the file knows best how the program ended (out of memory, for one); of a part, who saw it. */
static ending ending_seen(const hl_model *m, const hl_verdict_seen *seen)
{
    if (seen->lost == NULL && !m->stopped)
        return ending_of(m);
    int status = seen->wait_status;
    return (ending){.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                    .number = WIFSIGNALED(status) ? WTERMSIG(status) : -1,
                    .time_ns = seen->end_ns};
}

/* Whether an orderly end left nothing worth a line: little at lines of Python, and of the interpreter's own (its start-up, and
 * native code without a Python frame) what every version of it leaves. */
static int find_trifle(hl_model *m, bool *trifle)
{
    enum {
        OF_LINES = 64000,
        OF_INTERPRETER = 1000000
    }; /* of CPython 3.6 to 3.13 an empty program leaves up to 953 kB */
    hl_view view;
    char why[128];
    int error = hl_view_open(&view, m, &(hl_selection){.moment = HL_AT_END}, why, sizeof why);
    if (error)
        return error;
    hl_weight *sites = hl_view_by_site(&view, false);
    uint64_t own = 0;
    for (uint32_t i = 0; sites && i < m->sites.n; i++)
        own +=
            m->sites.row[i].kind == HL_SITE_NO_PYTHON || m->sites.row[i].kind == HL_SITE_STARTUP ? sites[i].bytes : 0;
    uint64_t lines = view.total.bytes - own;
    *trifle = lines < OF_LINES && lines <= m->peak / 100 && own < OF_INTERPRETER * (uint64_t)m->recorded;
    error = sites ? 0 : -ENOMEM;
    free(sites);
    hl_view_release(&view);
    return error;
}

/* Children that a signal ended which nobody sends to end a child in the ordinary course: the first, and how many. */
static bool was_killed(const hl_model *m, const hl_model_process *p)
{
    static const int ordinary[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2};
    if (p == &m->processes.row[0] || strcmp(p->ended, "signal") != 0)
        return false;
    for (size_t i = 0; i < sizeof ordinary / sizeof *ordinary; i++)
        if (p->exit_status == ordinary[i])
            return false;
    return true;
}

static void put_killed(const hl_model *m, hl_out *out)
{
    uint32_t killed = 0, first = 0;
    for (uint32_t i = m->processes.n; i-- > 0;) {
        if (was_killed(m, &m->processes.row[i])) {
            killed++;
            first = i;
        }
    }
    if (!killed || m->recordings.n)
        return;
    const hl_model_process *p = &m->processes.row[first];
    const char *name = hl_signal_name(p->exit_status);
    hl_outf(out, "\n  killed:    process %lld by ", (long long)p->pid);
    if (name)
        hl_out_put(out, name);
    else
        hl_outf(out, "signal %lld", (long long)p->exit_status);
    for (uint32_t i = 0; i < m->notes.n; i++) {
        if (m->notes.row[i].process == first && !strncmp(m->notes.row[i].text, HL_NOTE_OOM, sizeof HL_NOTE_OOM - 1)) {
            hl_out_put(out, ", out of memory");
            break;
        }
    }
    if (killed > 1)
        hl_outf(out, ", and %u more", killed - 1);
}

static int write_lines(hl_model *m, const char *path, const hl_verdict_seen *seen, hl_out *out)
{
    char size[HL_NUMBER_BYTES], count[HL_NUMBER_BYTES], time[HL_NUMBER_BYTES];
    uint64_t live = 0, blocks = 0, allocated = 0, allocations = 0;
    for (uint32_t i = 0; i < m->processes.n; i++) {
        const hl_model_process *p = &m->processes.row[i];
        live += p->live;
        blocks += p->live_blocks;
        allocated += p->allocated;
        allocations += p->allocations;
    }
    ending end = ending_seen(m, seen);
    if (seen->lost)
        put_lost(m, path, seen, out);
    hl_out_put(out, "heapline: ");
    put_command(m, out, 60);
    hl_out_put(out, " ");
    put_ending(m, end, out);
    hl_out_put(out, "; ");
    if (seen->lost)
        hl_outf(out, "in the first %s: ", hl_time_text(time, m->now_ns));
    else if (m->stopped)
        hl_outf(out, "in the first %s, until the recording was stopped: ", hl_time_text(time, m->now_ns));
    int error = ran_out(m) ? put_growth(m, out) : put_peak(m, out);
    if (!error && ran_out(m))
        error = put_heaviest(m, HL_AT_END, out, ", ");
    /* What an orderly end left is not freed; what was there when the program or the recording was cut off was in use. */
    bool orderly = !m->running && !m->stopped && end.status >= 0;
    bool trifle = false;
    if (!error && orderly)
        error = find_trifle(m, &trifle);
    if (!trifle)
        hl_outf(out, "\n  %s %s in %s", orderly ? "not freed:" : "alive:    ", hl_size_text(size, (int64_t)live),
                hl_counted_text(count, blocks, "block"));
    if (!error && live && !trifle)
        error = put_heaviest(m, HL_AT_END, out, ", ");
    hl_outf(out, "\n  allocated: %s in %s", hl_size_text(size, (int64_t)allocated),
            hl_counted_text(count, allocations, "allocation"));
    if (m->processes.n > 1)
        hl_outf(out, " by %u of %u processes", m->recorded, m->processes.n);
    put_killed(m, out);
    int64_t lost = hl_model_number(m, "lost", 0);
    if (lost > 0)
        hl_outf(out, "; %s events were not recorded", hl_count_text(count, (uint64_t)lost));
    bool in_part = put_in_part(m, out, "\n  in part:   ");
    put_unseen(m, out, in_part ? "; " : "\n  not seen:  ", "");
    struct stat file;
    hl_out_put(out, "\n  profile:   ");
    hl_out_clean(out, path, strlen(path));
    if (stat(path, &file) == 0)
        hl_outf(out, " (%s)", hl_size_text(size, file.st_size));
    hl_out_put(out, "\n  next:      heapline stats ");
    char quoted[2 * PATH_MAX];
    hl_join_words(quoted, sizeof quoted, (char *[]){(char *)path, NULL});
    hl_out_clean(out, quoted, strlen(quoted));
    hl_out_put(out, "\n");
    return error;
}

int hl_verdict_write(const char *path, int fd, const hl_verdict_seen *seen, char *why, size_t why_bytes)
{
    hl_profile *profile;
    hl_model *model;
    int error = hl_profile_open(&profile, path, why, why_bytes);
    if (error)
        return error;
    error = hl_model_load(&model, hl_profile_database(profile), HL_FRAMES_ALL, why, why_bytes);
    if (!error) {
        hl_out out;
        hl_out_begin(&out, hl_terminal_of(fd, HL_COLOUR_AUTO));
        if (hl_model_number(model, "start_unix_ns", -1) != seen->start_unix_ns)
            put_lost(NULL, path, seen, &out);
        else
            error = write_lines(model, path, seen, &out);
        if (!error && hl_model_number(model, "start_unix_ns", -1) == seen->start_unix_ns)
            error = hl_profiled_after_run(model, path, &out, why, why_bytes);
        if (error)
            snprintf(why, why_bytes, "%s", error == -ENOMEM ? "out of memory" : "the profile cannot be read");
        else
            error = hl_out_write(&out, fd);
        hl_out_release(&out);
        hl_model_release(model);
    }
    hl_profile_close(profile);
    return error;
}
