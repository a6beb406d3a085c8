/* commands.c - the table of subcommands, in the order in which `heapline help` shows them. */
#include "cli.h"

const hl_command hl_commands[] = {
    {"run", "run a program and record its memory", hl_cmd_run, HL_GROUP_RECORD},
    {"env", "print variables that make programs record themselves", hl_cmd_env, HL_GROUP_RECORD},
    {"status", "list running recordings", hl_cmd_status, HL_GROUP_RECORD},
    {"stop", "end a recording, leave its programs running", hl_cmd_stop, HL_GROUP_RECORD},
    {"stats", "one page: how it ended, peak, totals, heaviest lines", hl_cmd_stats, HL_GROUP_READ},
    {"report", "one HTML file: overview, timeline, flame graph, source", hl_cmd_report, HL_GROUP_READ},
    {"flamegraph", "the same, opened at its flame graph", hl_cmd_flamegraph, HL_GROUP_READ},
    {"tree", "the call tree, its heaviest paths opened", hl_cmd_tree, HL_GROUP_READ},
    {"table", "lines of code that hold memory, heaviest first", hl_cmd_table, HL_GROUP_READ},
    {"collect", "internal", hl_cmd_collect, NULL},
    {"summary", "memory by function, with and without what it called", hl_cmd_summary, HL_GROUP_READ},
    {"lines", "source lines beside what they took and held", hl_cmd_lines, HL_GROUP_READ},
    {"profiled", "functions profiled line by line", hl_cmd_profiled, HL_GROUP_READ},
    {"timeline", "heap and RSS over time", hl_cmd_timeline, HL_GROUP_READ},
    {"processes", "the tree of processes", hl_cmd_processes, HL_GROUP_READ},
    {"check", "whether a recording kept its limits, for CI", hl_cmd_check, HL_GROUP_COMPARE},
    {"diff", "what grew from one recording to another, by line", hl_cmd_diff, HL_GROUP_COMPARE},
    {"merge", "join profiles of several processes or machines", hl_cmd_merge, HL_GROUP_COMPARE},
    {"mprof", "sample the resident memory of any program over time, and plot it", hl_cmd_mprof, HL_GROUP_MPROF},
    {"install-shims", "modules memory_profiler and mprof for programs that import those", hl_cmd_install_shims,
     HL_GROUP_MPROF},
    {0},
};
