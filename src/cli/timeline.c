/* `heapline timeline`: docs/heapline-timeline.md. */
#include "report.h"

int hl_cmd_timeline(int argc, char **argv)
{
    static const hl_option options[] = {
        {.name = "pid",
         .kind = HL_OPTION_NUMBER,
         .value = "PID",
         .least = 1,
         .most = INT32_MAX,
         .help = "only this process",
         HL_REPORT_SET(pid)},
        HL_OPTION_CSV,
        HL_OPTION_JSON,
        HL_OPTIONS_HTML,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {
        .name = "timeline", .usage = "[options] PROFILE", .summary = "Heap and RSS over time.", .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_timeline, HL_ALL_ROWS, HL_ALL_ROWS, false);
}
