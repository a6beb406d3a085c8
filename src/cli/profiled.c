/* `heapline profiled`: docs/heapline-profiled.md. */
#include "report.h"

int hl_cmd_profiled(int argc, char **argv)
{
    static const char *const keys[] = {"bytes", "count", "place", NULL};
    static const hl_option options[] = {
        {.name = "pid",
         .kind = HL_OPTION_NUMBER,
         .value = "PID",
         .least = 1,
         .most = INT32_MAX,
         .help = "only this process",
         HL_REPORT_SET(pid)},
        HL_OPTION_SORT(keys, "functions by bytes allocated (default), count of allocations, or place"),
        {.name = "compact",
         .kind = HL_OPTION_FLAG,
         .help = "leave out lines without memory that are far from others; of JSON and CSV, lines that did not run and "
                 "source text",
         HL_REPORT_SET(compact)},
        HL_OPTION_JSON,
        HL_OPTION_CSV,
        HL_OPTIONS_HTML,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {.name = "profiled",
                                     .usage = "[options] PROFILE [FUNCTION | FILE ..]",
                                     .summary = "Functions profiled line by line: what each line allocated and freed.",
                                     .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_profiled, HL_ALL_ROWS, HL_ALL_ROWS, true);
}
