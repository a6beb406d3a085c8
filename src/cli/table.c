/* `heapline table`: docs/heapline-table.md. */
#include "report.h"

int hl_cmd_table(int argc, char **argv)
{
    static const char *const sorts[] = {"bytes", "count", "place", NULL};
    static const hl_option options[] = {
        HL_OPTIONS_VIEW,
        HL_OPTIONS_THREAD,
        HL_OPTION_LEAF,
        HL_OPTIONS_FRAMES,
        HL_OPTION_SORT(sorts, "order of the rows: bytes (default), count, place"),
        HL_OPTION_ROWS("rows to show, 0 for all (default 20; 1000 with --json, all with --csv)"),
        HL_OPTION_CSV,
        HL_OPTION_JSON,
        HL_OPTIONS_HTML,
        {.name = "compact",
         .kind = HL_OPTION_FLAG,
         .help = "with --json: each place in the code once, stacks as lists of their numbers",
         HL_REPORT_SET(compact)},
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {.name = "table",
                                     .usage = "[options] PROFILE",
                                     .summary = "The lines of code that hold memory, the heaviest first.",
                                     .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_table, 20, 1000, false);
}
