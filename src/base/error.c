/* error.c - see error.h. Used by heapline's own processes, never by the tracker. */
#include "error.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hl_error(const char *format, ...)
{
    char line[4096];
    int prefix = snprintf(line, sizeof line, "heapline: ");
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line + prefix, sizeof line - (size_t)prefix - 1, format, arguments);
    va_end(arguments);
    size_t bytes = n < 0 ? (size_t)prefix : (size_t)prefix + (size_t)n;
    if (bytes > sizeof line - 2)
        bytes = sizeof line - 2;
    line[bytes++] = '\n';
    fflush(stderr);
    for (size_t done = 0; done < bytes;) {
        ssize_t written = write(STDERR_FILENO, line + done, bytes - done);
        if (written <= 0)
            return; /* there is nowhere left to say so */
        done += (size_t)written;
    }
}

const char *hl_error_text(int code)
{
    static _Thread_local char text[128];
    snprintf(text, sizeof text, "%s", strerror(abs(code)));
    if (isupper((unsigned char)text[0]) && islower((unsigned char)text[1]))
        text[0] = (char)tolower((unsigned char)text[0]);
    return text;
}
