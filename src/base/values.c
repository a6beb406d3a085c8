/* values.c - numbers, durations and sizes as people type them (options.h). */
#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int hl_parse_number(const char *text, uint64_t *value)
{
    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (*end != '\0')
        return -EINVAL;
    if (errno == ERANGE)
        return -ERANGE;
    *value = n;
    return 0;
}

typedef struct unit {
    const char *name;
    double factor;
} unit;

/* A decimal number and a unit behind it, blanks between them allowed. */
static int parse_with_unit(const char *text, const unit *units, uint64_t *value)
{
    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return -EINVAL;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        return -EINVAL;
    char *end;
    double n = strtod(text, &end);
    if (end == text)
        return -EINVAL;
    while (*end == ' ')
        end++;
    for (; units->name != NULL; units++) {
        if (strcasecmp(end, units->name) != 0)
            continue;
        double scaled = n * units->factor;
        if (!(scaled < 9e18))
            return -ERANGE;
        *value = (uint64_t)(scaled + 0.5);
        return 0;
    }
    return -EINVAL;
}

int hl_parse_duration(const char *text, uint64_t *ns)
{
    static const unit units[] = {{"", 1e9}, {"s", 1e9},  {"ms", 1e6},   {"us", 1e3},   {"\xc2\xb5s", 1e3},
                                 {"ns", 1}, {"m", 60e9}, {"min", 60e9}, {"h", 3600e9}, {NULL, 0}};
    return parse_with_unit(text, units, ns);
}

int hl_parse_size(const char *text, uint64_t *bytes)
{
    static const unit units[] = {{"", 1},
                                 {"b", 1},
                                 {"k", 1e3},
                                 {"kb", 1e3},
                                 {"m", 1e6},
                                 {"mb", 1e6},
                                 {"g", 1e9},
                                 {"gb", 1e9},
                                 {"t", 1e12},
                                 {"tb", 1e12},
                                 {"kib", 1024},
                                 {"mib", 1048576},
                                 {"gib", 1073741824},
                                 {"tib", 1099511627776},
                                 {NULL, 0}};
    return parse_with_unit(text, units, bytes);
}
