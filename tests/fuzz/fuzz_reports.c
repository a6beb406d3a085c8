/*
 * fuzz_reports.c - every report, page, check, diff and merge of a sound SQLite profile whose rows hold anything: it is written or refused, nothing else.
 *
 * The input is a list of changes, four bytes each: which column of which row of which table, and which value of a list of
 * awkward ones. Damaged files are fuzz_profile's part.
 */
#include "gate.h"
#include "page.h"
#include "profile.h"
#include "profiled.h"
#include "report.h"
#include "synthetic.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned char *sound;
static sqlite3_int64 sound_bytes;

static void make_sound(void)
{
    hl_synthetic_options o = hl_synthetic_defaults;
    o.nodes = 30;
    o.stats = 40;
    o.blocks = 200;
    o.ticks = 12;
    o.codes = 8;
    o.processes = 2;
    o.folded = true;
    hl_synthetic *s = hl_synthetic_make(&o);
    char path[] = "/tmp/heapline-fuzz-XXXXXX", why[128];
    int fd = mkstemp(path);
    hl_profile *profile;
    if (!s || fd < 0 || hl_synthetic_write(s, path) != 0 || hl_profile_open(&profile, path, why, sizeof why) != 0)
        abort();
    close(fd);
    unlink(path);
    unsigned char *image = sqlite3_serialize(hl_profile_database(profile), "main", &sound_bytes, 0);
    sqlite3 *database = NULL;
    if (!image || sqlite3_open(":memory:", &database) != SQLITE_OK ||
        sqlite3_deserialize(database, "main", image, sound_bytes, sound_bytes,
                            SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE) != SQLITE_OK ||
        sqlite3_exec(
            database,
            "INSERT INTO line_function VALUES (1, 1, 1, 'f', 1, 9), (2, 2, 1, 'f', 1, 9), (3, 1, NULL, 'g', 4, 5);"
            "INSERT INTO line_profile VALUES (1, 2, 3, 400, 100, 5, 300, 10, 90, NULL), "
            "(1, 3, 3, 0, 0, 0, 0, 0, 0, 77), (2, 2, 1, 40, 50, 2, 30, 0, 30, 88), (3, 4, 1, 1, 0, 1, 1, 0, 1, NULL)",
            NULL, NULL, NULL) != SQLITE_OK ||
        !(sound = sqlite3_serialize(database, "main", &sound_bytes, 0)))
        abort();
    sqlite3_close(database);
    hl_profile_close(profile);
    hl_synthetic_free(s);
}

static const char *const columns[][2] = {
    {"meta", "value"},
    {"process", "pid"},
    {"process", "parent"},
    {"process", "command"},
    {"process", "python"},
    {"process", "start_ns"},
    {"process", "end_ns"},
    {"process", "ended"},
    {"process", "exit_status"},
    {"process", "peak"},
    {"process", "peak_ns"},
    {"process", "allocations"},
    {"thread", "process"},
    {"thread", "tid"},
    {"thread", "name"},
    {"file", "path"},
    {"file", "origin"},
    {"file", "source_bytes"},
    {"file", "source"},
    {"function", "file"},
    {"function", "name"},
    {"function", "first_line"},
    {"frame", "function"},
    {"frame", "line"},
    {"stack", "parent"},
    {"stack", "frame"},
    {"stack", "kind"},
    {"stat", "stack"},
    {"stat", "process"},
    {"stat", "thread"},
    {"stat", "allocator"},
    {"stat", "allocated"},
    {"stat", "live"},
    {"stat", "peak"},
    {"stat", "tree_peak"},
    {"stat", "temporary"},
    {"stat", "sizes"},
    {"tick", "heap"},
    {"tick", "heap_high"},
    {"tick", "tick"},
    {"tick", "rss"},
    {"cell_row", "born"},
    {"cell_row", "lived"},
    {"cell_row", "bytes"},
    {"note", "text"},
    {"mark", "name"},
    {"frame", "col"},
    {"frame", "module"},
    {"frame", "caller"},
    {"stat", "largest"},
    {"stat", "live_blocks"},
    {"cell_row", "stat"},
    {"stack", "id"},
    {"process", "id"},
    {"stat", "id"},
    {"file", "id"},
    {"line_function", "id"},
    {"line_function", "process"},
    {"line_function", "file"},
    {"line_function", "name"},
    {"line_function", "first_line"},
    {"line_function", "last_line"},
    {"line_profile", "function"},
    {"line_profile", "line"},
    {"line_profile", "hits"},
    {"line_profile", "allocated"},
    {"line_profile", "freed"},
    {"line_profile", "highest"},
    {"line_profile", "rss"},
};

static const char *const values[] = {
    "NULL",
    "0",
    "-1",
    "1",
    "2",
    "3",
    "64",
    "1000000007",
    "9223372036854775807",
    "-9223372036854775807",
    "4294967295",
    "4294967296",
    "2147483647",
    "-2147483648",
    "1e300",
    "''",
    "'<frozen importlib._bootstrap>'",
    "'/usr/lib/python3.12/site.py'",
    "'<string>'",
    "x'ff80808080808080808080ff'",
    "x'1b5b324a'",
    "'site'",
    "'stdlib'",
    "'user'",
    "'running'",
    "'signal'",
    "zeroblob(70000)",
    "char(27) || '[2J'",
    "char(8238, 10, 13)",
    "printf('%5000d', 1)",
};

static void run_reports(sqlite3 *database, uint8_t choice)
{
    static hl_report_writer *const reports[] = {hl_report_stats,     hl_report_tree,    hl_report_table,
                                                hl_report_summary,   hl_report_lines,   hl_report_timeline,
                                                hl_report_processes, hl_report_profiled};
    hl_report r = {.path = "fuzz", .rows = choice & 8 ? 5 : HL_ALL_ROWS, .leaf = choice & 16, .whole = choice & 32};
    if (hl_model_load(&r.model, database, (hl_frame_choice)(choice / 64 % 3), r.why, sizeof r.why) != 0)
        return;
    hl_selection selection = {.moment = (hl_moment)(choice % 6), .time_ns = (uint64_t)choice << 22, .within = choice};
    if (hl_view_open(&r.view, r.model, &selection, r.why, sizeof r.why) == 0) {
        if (hl_sources_begin(&r.sources, r.model) == 0) {
            for (size_t i = 0; i < 2 * sizeof reports / sizeof *reports; i++) {
                r.json = i % 2;
                r.compact = reports[i / 2] == hl_report_profiled && choice & 1;
                r.csv = reports[i / 2] == hl_report_profiled && choice & 2;
                hl_out_begin(&r.out, (hl_terminal){.width = 40 + choice, .utf8 = choice & 64});
                reports[i / 2](&r);
                if (r.out.bytes && memchr(r.out.at, '\033', r.out.bytes))
                    abort(); /* what the profile says must not reach the terminal as it is */
                hl_out_release(&r.out);
            }
            hl_out_begin(&r.out, (hl_terminal){.width = 40 + choice, .utf8 = choice & 64});
            hl_profiled_after_run(r.model, "fuzz", &r.out, r.why, sizeof r.why);
            if (r.out.bytes && memchr(r.out.at, '\033', r.out.bytes))
                abort();
            hl_out_release(&r.out);
            hl_sources_release(&r.sources);
        }
        hl_view_release(&r.view);
    }
    hl_model_release(r.model);
}

/* As an HTML report beside itself, whole and with what is light folded. */
static void run_page(sqlite3 *database, uint8_t choice)
{
    static const hl_bundle bundle = {.script = {"1", 1}, .style = {"", 0}, .notices = {"", 0}};
    hl_model *model = NULL;
    hl_payload payloads[2] = {{0}, {0}};
    uint32_t *partner = NULL;
    char why[256];
    if (hl_model_load(&model, database, HL_FRAMES_ALL, why, sizeof why) != 0)
        return;
    int error = hl_payload_make(&payloads[0], model, &(hl_payload_options){.path = "fuzz", .private_source = true}, why,
                                sizeof why);
    if (!error)
        error = hl_frames_match(model, model, &partner);
    if (!error) {
        hl_frame_match match = {payloads[0].frames, payloads[0].frame_count, partner};
        hl_payload_options options = {.path = "fuzz", .most_bytes = 2000 + (size_t)choice * 32, .match = &match};
        for (uint32_t i = 0; i < match.old_count; i++) /* each line is itself */
            if (partner[match.old_rows[i]] == HL_NO_ROW)
                abort();
        error = hl_payload_make(&payloads[1], model, &options, why, sizeof why);
        if (!error && payloads[1].bytes > options.most_bytes)
            abort();
    }
    if (!error) {
        hl_page page = {.bundle = &bundle, .payload = &payloads[1], .old = &payloads[0], .view = "flame"};
        uint64_t bytes;
        int fd = memfd_create("heapline-fuzz", MFD_CLOEXEC);
        if (hl_page_write(&page, fd, &bytes) != 0)
            abort();
        char *text = calloc(bytes + 1, 1);
        if (!text || pread(fd, text, bytes, 0) != (ssize_t)bytes)
            abort();
        size_t scripts = 0;
        for (char *at = text; (at = strstr(at, "<script")); at++)
            scripts++;
        if (scripts != 3 || memchr(text, '\033', bytes))
            abort();
        free(text);
        close(fd);
    }
    free(partner);
    hl_payload_release(&payloads[0]);
    hl_payload_release(&payloads[1]);
    hl_model_release(model);
}

/* Both as a check and as a diff with itself, in which nothing may have changed. */
static void run_gates(sqlite3 *database, uint8_t choice)
{
    static hl_gate_writer *const writers[] = {hl_gate_text, hl_gate_json, hl_gate_markdown, hl_gate_github,
                                              hl_gate_junit};
    char why[256];
    hl_model *models[2] = {NULL, NULL};
    if (hl_model_load(&models[0], database, HL_FRAMES_ALL, why, sizeof why) == 0 &&
        hl_model_load(&models[1], database, HL_FRAMES_ALL, why, sizeof why) == 0) {
        for (int diff = 0; diff < 2; diff++) {
            hl_gate_limit limits[] = {{.figure = (hl_figure)(choice % HL_FIGURES), .amount = diff ? 0 : choice},
                                      {.figure = HL_FIGURE_PEAK, .in_percent = diff, .percent = choice}};
            hl_gate gate = {
                .is_diff = diff, .limits = limits, .limit_count = 2, .rows = choice & 8 ? 3 : 0, .leaf = choice & 16};
            gate.new.model = models[1];
            gate.new.path = gate.old.path = "fuzz";
            gate.old.model = diff ? models[0] : NULL;
            if (hl_gate_open(&gate) == 0) {
                for (uint32_t i = 0; diff && i < gate.line_count; i++)
                    if (hl_gate_growth(&gate.lines[i], HL_FIGURE_PEAK) != 0)
                        abort();
                for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
                    hl_out_begin(&gate.out, (hl_terminal){.width = 40 + choice, .utf8 = choice & 64});
                    writers[i](&gate);
                    if (gate.out.bytes && memchr(gate.out.at, '\033', gate.out.bytes))
                        abort();
                    hl_out_release(&gate.out);
                }
            }
            hl_gate_release(&gate);
        }
    }
    hl_model_release(models[0]);
    hl_model_release(models[1]);
}

/* A profile with this image, through a file that has no name. */
static hl_profile *open_image(const unsigned char *image, sqlite3_int64 bytes)
{
    char path[64], why[256];
    hl_profile *profile = NULL;
    int fd = memfd_create("heapline-fuzz", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (fd < 0 || write(fd, image, (size_t)bytes) != bytes)
        abort();
    (void)!hl_profile_open(&profile, path, why, sizeof why);
    close(fd);
    return profile;
}

/* Merged with a sound one, before and behind it; and what came of that is read. */
static void run_merge(sqlite3 *database, uint8_t choice)
{
    static char output[64];
    char why[512];
    sqlite3_int64 bytes;
    snprintf(output, sizeof output, "/tmp/heapline-fuzz-merged-%d", (int)getpid());
    sqlite3_exec(database, "UPDATE meta SET value = 'another' WHERE key = 'host'", NULL, NULL, NULL);
    unsigned char *image = sqlite3_serialize(database, "main", &bytes, 0);
    if (!image)
        return;
    hl_merge_input inputs[2] = {{.name = "sound"}, {.name = "broken"}};
    inputs[choice >> 7].profile = open_image(sound, sound_bytes);
    inputs[!(choice >> 7)].profile = open_image(image, bytes);
    sqlite3_free(image);
    if (inputs[0].profile && inputs[1].profile &&
        hl_profile_merge(output, inputs, 2, choice & 32, NULL, why, sizeof why) == 0) {
        hl_profile *merged;
        if (hl_profile_open(&merged, output, why, sizeof why) != 0)
            abort(); /* what merge writes is sound at least as a file */
        run_reports(hl_profile_database(merged), choice);
        hl_profile_close(merged);
        unlink(output);
    }
    hl_profile_close(inputs[0].profile);
    hl_profile_close(inputs[1].profile);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!sound)
        make_sound();
    if (size == 0)
        return 0;
    sqlite3 *database;
    unsigned char *image = sqlite3_malloc64((sqlite3_uint64)sound_bytes);
    if (!image || sqlite3_open(":memory:", &database) != SQLITE_OK)
        abort();
    memcpy(image, sound, (size_t)sound_bytes);
    sqlite3_deserialize(database, "main", image, sound_bytes, sound_bytes,
                        SQLITE_DESERIALIZE_FREEONCLOSE | SQLITE_DESERIALIZE_RESIZEABLE);
    for (size_t at = 1; at + 4 <= size && at < 80; at += 4) {
        char sql[512];
        const char *const *column = columns[data[at] % (sizeof columns / sizeof *columns)];
        snprintf(sql, sizeof sql, "UPDATE OR IGNORE %s SET %s = %s WHERE abs(coalesce(%s, 0)) %% %u = %u OR %u = 0",
                 column[0], column[1], values[data[at + 1] % (sizeof values / sizeof *values)], column[1],
                 data[at + 2] % 16 + 1u, data[at + 3] % 8u, data[at + 3] % 16u);
        sqlite3_exec(database, sql, NULL, NULL, NULL);
    }
    run_reports(database, data[0]);
    run_gates(database, data[0]);
    if (data[0] % 4 == 1)
        run_page(database, data[0]);
    if (data[0] % 4 == 0) /* it takes longer than all reports */
        run_merge(database, data[0]);
    sqlite3_close(database);
    return 0;
}
