/* See number.h. */
#include "number.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *hl_size_text(char text[HL_NUMBER_BYTES], int64_t bytes)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    const char *sign = bytes < 0 ? "-" : "";
    uint64_t size = bytes < 0 ? 0 - (uint64_t)bytes : (uint64_t)bytes;
    if (size < 1000) {
        snprintf(text, HL_NUMBER_BYTES, "%s%u B", sign, (unsigned)size);
        return text;
    }
    double value = (double)size / 1000;
    unsigned unit = 0;
    while (value >= 999.95 && unit < sizeof units / sizeof *units - 1) { /* what %.1f would show as 1000.0 */
        value /= 1000;
        unit++;
    }
    snprintf(text, HL_NUMBER_BYTES, value < 9.995 ? "%s%.2f %s" : "%s%.1f %s", sign, value, units[unit]);
    return text;
}

char *hl_count_text(char text[HL_NUMBER_BYTES], uint64_t count)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)count);
    char *to = text;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

char *hl_counted_text(char text[HL_NUMBER_BYTES], uint64_t count, const char *one)
{
    hl_count_text(text, count);
    size_t n = strlen(text);
    snprintf(text + n, HL_NUMBER_BYTES - n, " %s%s", one, count == 1 ? "" : "s");
    return text;
}

char *hl_time_text(char text[HL_NUMBER_BYTES], uint64_t time_ns)
{
    double ms = (double)time_ns / 1e6;
    uint64_t seconds = (time_ns + 500000000) / 1000000000;
    if (ms < 999.5)
        snprintf(text, HL_NUMBER_BYTES, "%.0f ms", ms);
    else if (ms < 119995)
        snprintf(text, HL_NUMBER_BYTES, ms < 99995 ? "%.2f s" : "%.1f s", ms / 1000);
    else if (seconds < 7200)
        snprintf(text, HL_NUMBER_BYTES, "%u min %02u s", (unsigned)(seconds / 60), (unsigned)(seconds % 60));
    else
        snprintf(text, HL_NUMBER_BYTES, "%llu h %02u min", (unsigned long long)((seconds + 30) / 3600),
                 (unsigned)((seconds + 30) % 3600 / 60));
    return text;
}

char *hl_share_text(char text[HL_NUMBER_BYTES], uint64_t part, uint64_t whole)
{
    double share = whole ? 100.0 * (double)part / (double)whole : 0;
    if (whole == 0)
        text[0] = '\0';
    else if (part != 0 && share < 0.05)
        snprintf(text, HL_NUMBER_BYTES, "<0.1 %%");
    else if (part < whole && share >= 99.95) /* 100 % means all of it */
        snprintf(text, HL_NUMBER_BYTES, "99.9 %%");
    else
        snprintf(text, HL_NUMBER_BYTES, part == whole ? "%.0f %%" : "%.1f %%", share);
    return text;
}

int hl_time_parse(const char *text, uint64_t whole_ns, uint64_t *time_ns)
{
    size_t digits = strspn(text, "0123456789."); /* no sign, exponent, hexadecimal, nan or inf */
    char *end;
    double value = strtod(text, &end);
    double factor_ns;
    if (digits == 0 || text[0] == '.' || end != text + digits)
        return -EINVAL;
    if (strcmp(end, "%") == 0) {
        if (value > 100)
            return -EINVAL;
        *time_ns = (uint64_t)(value / 100 * (double)whole_ns);
        return 0;
    }
    if (*end == '\0' || strcmp(end, "s") == 0)
        factor_ns = 1e9;
    else if (strcmp(end, "ms") == 0)
        factor_ns = 1e6;
    else if (strcmp(end, "m") == 0 || strcmp(end, "min") == 0)
        factor_ns = 60e9;
    else if (strcmp(end, "h") == 0)
        factor_ns = 3600e9;
    else
        return -EINVAL;
    if (value * factor_ns > 9e18)
        return -EINVAL;
    *time_ns = (uint64_t)(value * factor_ns + 0.5);
    return 0;
}
