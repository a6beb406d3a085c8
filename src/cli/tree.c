/* `heapline tree`: docs/heapline-tree.md. */
#include "report.h"

int hl_cmd_tree(int argc, char **argv)
{
    static const hl_option options[] = {
        HL_OPTIONS_VIEW,
        HL_OPTIONS_THREAD,
        {.name = "leaf", .kind = HL_OPTION_FLAG, .help = "show the frames inside libraries too", HL_REPORT_SET(leaf)},
        HL_OPTIONS_FRAMES,
        HL_OPTION_ROWS("calls to show, 0 for all (default 30; all with --json)"),
        HL_OPTION_JSON,
        HL_OPTION_COLOUR,
        {0},
    };
    static const hl_syntax syntax = {.name = "tree",
                                     .usage = "[options] PROFILE",
                                     .summary =
                                         "The call tree with the memory below each call, its heaviest paths opened.",
                                     .options = options};
    return hl_report_command(&syntax, argc, argv, hl_report_tree, 30, HL_ALL_ROWS, false);
}
