/* `heapline check`: docs/heapline-check.md. */
#include "gate.h"

#include "report.h"

int hl_cmd_check(int argc, char **argv)
{
    static const hl_option options[] = {
        {.name = "max-peak",
         .kind = HL_OPTION_SIZE,
         .value = "SIZE",
         .help = "heap at its highest: 500MB, 1.5GiB",
         HL_GATE_SET(most[HL_FIGURE_PEAK])},
        {.name = "max-leak",
         .kind = HL_OPTION_SIZE,
         .value = "SIZE",
         .help = "what was never freed",
         HL_GATE_SET(most[HL_FIGURE_LEAK])},
        {.name = "max-allocated",
         .kind = HL_OPTION_SIZE,
         .value = "SIZE",
         .help = "everything allocated, freed or not",
         HL_GATE_SET(most[HL_FIGURE_ALLOCATED])},
        {.name = "max-allocations",
         .kind = HL_OPTION_NUMBER,
         .value = "N",
         .help = "number of allocations",
         HL_GATE_SET(most[HL_FIGURE_ALLOCATIONS])},
        {.name = "max-temporary",
         .kind = HL_OPTION_NUMBER,
         .value = "N",
         .help = "number of allocations that were freed within one later allocation of their thread",
         HL_GATE_SET(most[HL_FIGURE_TEMPORARY])},
        {.name = "max-rss-peak",
         .kind = HL_OPTION_SIZE,
         .value = "SIZE",
         .help = "resident memory at its highest",
         HL_GATE_SET(most[HL_FIGURE_RSS])},
        HL_OPTIONS_GATE,
        {0},
    };
    static const hl_syntax syntax = {.name = "check",
                                     .usage = "[options] PROFILE",
                                     .summary = "Whether a recording kept its limits: exit status 1 when one is "
                                                "exceeded,\nwith the lines that hold the memory.",
                                     .options = options};
    hl_gate_options o = hl_gate_defaults;
    hl_gate gate = {0};
    hl_gate_limit limits[HL_FIGURES];
    int status = hl_options_parse(&syntax, &argc, argv, &o);
    if (status < 0)
        status = hl_gate_check_options(&syntax, &o);
    if (status < 0 && argc == 0)
        status = hl_options_mistake(&syntax, "which profile? (name the file that heapline run wrote)");
    if (status < 0 && argc > 1)
        status = hl_options_mistake(&syntax, "%s: one profile at a time", argv[1]);
    for (int f = 0; f < HL_FIGURES && status < 0; f++)
        if (o.most[f] != UINT64_MAX)
            limits[gate.limit_count++] = (hl_gate_limit){.figure = (hl_figure)f, .amount = o.most[f]};
    if (status < 0 && gate.limit_count == 0)
        status = hl_options_mistake(&syntax, "which limit? (--max-peak 500MB, --max-leak 1MB ..)");
    if (status >= 0)
        return status;
    gate.limits = limits;
    gate.new.path = argv[0];
    return hl_gate_command(&syntax, &gate, &o);
}
