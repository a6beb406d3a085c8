/* `heapline summary`: docs/heapline-summary.md. */
#include "report.h"

int hl_cmd_summary(int argc, char **argv)
{
    static const char *const sorts[] = {"total", "count", "own", NULL};
    static const hl_option options[] = {
        HL_OPTIONS_VIEW,
        HL_OPTIONS_THREAD,
        HL_OPTION_LEAF,
        HL_OPTIONS_FRAMES,
        HL_OPTION_SORT(sorts, "order of the rows: total (default), own, count"),
        HL_OPTION_ROWS("functions to show, 0 for all (default 20; all with --json)"),
        HL_OPTION_JSON,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {.name = "summary",
                                     .usage = "[options] PROFILE",
                                     .summary = "Memory by function: with everything it called, and by its own lines.",
                                     .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_summary, 20, HL_ALL_ROWS, false);
}
