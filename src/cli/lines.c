/* `heapline lines`: docs/heapline-lines.md. */
#include "report.h"

int hl_cmd_lines(int argc, char **argv)
{
    static const hl_option options[] = {
        {.name = "all",
         .letter = 'a',
         .kind = HL_OPTION_FLAG,
         .help = "every line of the files, not only those that matter",
         HL_REPORT_SET(whole)},
        {.name = "pid",
         .kind = HL_OPTION_NUMBER,
         .value = "PID",
         .least = 1,
         .most = INT32_MAX,
         .help = "only this process",
         HL_REPORT_SET(pid)},
        HL_OPTIONS_THREAD,
        {.name = "leaf",
         .kind = HL_OPTION_FLAG,
         .help = "lines of libraries too, each charged for itself",
         HL_REPORT_SET(leaf)},
        {.name = "files",
         .letter = 'n',
         .kind = HL_OPTION_NUMBER,
         .value = "N",
         .help = "files to show when none is named, 0 for all (default 3)",
         HL_REPORT_SET(rows)},
        HL_OPTION_JSON,
        HL_OPTIONS_HTML,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {.name = "lines",
                                     .usage = "[options] PROFILE [FILE | FUNCTION ..]",
                                     .summary = "Source lines beside the memory they took, gave back and held.",
                                     .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_lines, 3, HL_ALL_ROWS, true);
}
