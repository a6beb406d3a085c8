/* commands.c - the table of subcommands, in the order in which `heapline help` shows them. */
#include "cli.h"

const hl_command hl_commands[] = {
    {0},
};
