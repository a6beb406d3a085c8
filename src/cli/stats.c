/* `heapline stats`: docs/heapline-stats.md. */
#include "report.h"

int hl_cmd_stats(int argc, char **argv)
{
    static const hl_option options[] = {
        HL_OPTIONS_VIEW,
        HL_OPTIONS_THREAD,
        HL_OPTION_LEAF,
        HL_OPTION_ROWS("lines in each list of lines (default 5)"),
        HL_OPTION_JSON,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {
        .name = "stats",
        .usage = "[options] PROFILE",
        .summary = "One page about a recording: how it ended, peak, totals, and where the memory went.",
        .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_stats, HL_ALL_ROWS, HL_ALL_ROWS, false);
}
