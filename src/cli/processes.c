/* `heapline processes`: docs/heapline-processes.md. */
#include "report.h"

int hl_cmd_processes(int argc, char **argv)
{
    static const hl_option options[] = {
        {.name = "pid",
         .kind = HL_OPTION_NUMBER,
         .value = "PID",
         .least = 1,
         .most = INT32_MAX,
         .help = "only this process",
         HL_REPORT_SET(pid)},
        HL_OPTION_JSON,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {
        .name = "processes",
        .usage = "[options] PROFILE",
        .summary = "The tree of processes: what each took, how it ended, why it was not followed.",
        .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_processes, HL_ALL_ROWS, HL_ALL_ROWS, false);
}
