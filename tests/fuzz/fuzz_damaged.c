/*
 * fuzz_damaged.c - every report of profiles whose bytes something has changed (mutated.h): text or an error in words,
 * whatever the numbers in it are. The last byte of the input chooses report, form and moment.
 */
#include "mutated.h"
#include "report.h"

#include <sqlite3.h>

static int progress(void *left)
{
    return --*(int *)left <= 0; /* a changed view may ask for more than there is time for */
}

static void write_report(hl_model *model, unsigned choice, uint64_t time_ns)
{
    static hl_report_writer *const writers[] = {hl_report_stats,    hl_report_tree,  hl_report_table,
                                                hl_report_summary,  hl_report_lines, hl_report_timeline,
                                                hl_report_processes};
    hl_report r = {.model = model, .path = "a.heapline", .rows = 20, .json = choice & 1};
    hl_selection selection = {.moment = (hl_moment)(choice / 2 % 6), .time_ns = time_ns, .within = 16};
    if (hl_view_open(&r.view, model, &selection, r.why, sizeof r.why) != 0)
        return;
    hl_out_begin(&r.out, (hl_terminal){.width = choice & 64 ? 200 : 80, .utf8 = true, .colour = true});
    if (hl_sources_begin(&r.sources, model) == 0)
        writers[choice / 12 % (sizeof writers / sizeof *writers)](&r);
    hl_sources_release(&r.sources);
    hl_view_release(&r.view);
    hl_out_release(&r.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hl_profile *profile;
    hl_model *model;
    char why[512];
    if (hl_profile_open(&profile, mutated(data, size), why, sizeof why) != 0)
        return 0;
    int left = 1000;
    sqlite3_progress_handler(hl_profile_database(profile), 10000, progress, &left);
    if (hl_model_load(&model, hl_profile_database(profile), HL_FRAMES_ALL, why, sizeof why) == 0) {
        write_report(model, size ? data[size - 1] : 0, model->now_ns / 2);
        hl_model_release(model);
    }
    hl_profile_close(profile);
    return 0;
}
