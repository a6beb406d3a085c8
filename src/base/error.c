/* error.c - see error.h. Used by heapline's own processes, never by the tracker. */
#include "error.h"

#include "out.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hl_error(const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    hl_out line;
    hl_out_begin(&line, hl_terminal_of(STDERR_FILENO, HL_COLOUR_NEVER));
    hl_out_put(&line, "heapline: ");
    hl_out_clean(&line, text, strlen(text)); /* file names and the like come from outside */
    hl_out_put(&line, "\n");
    fflush(stderr);
    hl_out_write(&line, STDERR_FILENO); /* when that fails there is nowhere left to say so */
    hl_out_release(&line);
}

const char *hl_error_text(int code)
{
    static _Thread_local char text[128];
    snprintf(text, sizeof text, "%s", strerror(abs(code)));
    if (isupper((unsigned char)text[0]) && islower((unsigned char)text[1]))
        text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}
