/*
 * dat.c - reads mprof's .dat files, from this program or from mprof itself, and answers what the reports ask.
 *
 * Names of calls may have blanks in them: a FUNC record is read from its end. The depth is there when the last word has no
 * point, for all other figures have one.
 */
#include "mprof.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A decimal number that is all of `text`, and no larger than a figure of these files can be. */
static bool number(const char *text, double *value)
{
    char *end;
    if (text[strspn(text, "+-0123456789.eE")] != '\0' || *text == '\0')
        return false;
    *value = strtod(text, &end);
    return *end == '\0' && fabs(*value) < 1e15;
}

/* Takes the last word off `text`. */
static char *last_word(char *text)
{
    char *blank = strrchr(text, ' ');
    if (blank == NULL)
        return NULL;
    *blank = '\0';
    return blank + 1;
}

static bool point(const char *mib, const char *time, hl_dat_point *to)
{
    return mib != NULL && time != NULL && number(mib, &to->mib) && number(time, &to->time_s);
}

static int add_point(hl_dat_series *series, hl_dat_point p)
{
    if ((series->n & (series->n - 1)) == 0) { /* room is the next power of two */
        hl_dat_point *more = realloc(series->point, (series->n ? 2 * series->n : 1) * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        series->point = more;
    }
    series->point[series->n++] = p;
    return 0;
}

static int read_child(hl_dat *dat, char *text)
{
    char *time = last_word(text), *mib = last_word(text);
    double pid;
    hl_dat_point p;
    if (!number(text, &pid) || pid < 0 || pid > 1e15 || !point(mib, time, &p))
        return 1;
    size_t i = 0;
    while (i < dat->children && dat->child[i].pid != (int64_t)pid)
        i++;
    if (i == dat->children) {
        hl_dat_child *more = realloc(dat->child, (i + 1) * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        dat->child = more;
        dat->child[dat->children++] = (hl_dat_child){.pid = (int64_t)pid};
    }
    return add_point(&dat->child[i].series, p);
}

/* What stands for a blank in a name, so that readers which split at blanks can bear it: U+00A0. */
static void plain_blanks(char *name)
{
    char *to = name;
    for (const char *at = name; *at != '\0'; at++) {
        bool stands = (unsigned char)at[0] == 0xC2 && (unsigned char)at[1] == 0xA0;
        *to++ = stands ? ' ' : *at;
        at += stands;
    }
    *to = '\0';
}

static int read_call(hl_dat *dat, char *text)
{
    hl_dat_call call = {0};
    char *last = last_word(text);
    if (last != NULL && strchr(last, '.') == NULL) {
        double depth;
        if (!number(last, &depth) || depth < -1 || depth > 1e6)
            return 1;
        call.depth = depth < 0 ? 0 : (int)depth;
        last = last_word(text);
    }
    char *mib = last_word(text);
    if (!point(mib, last, &call.end))
        return 1;
    last = last_word(text);
    mib = last_word(text);
    if (!point(mib, last, &call.begin) || *text == '\0')
        return 1;
    plain_blanks(text);
    call.name = text;
    if ((dat->calls & (dat->calls - 1)) == 0) {
        hl_dat_call *more = realloc(dat->call, (dat->calls ? 2 * dat->calls : 1) * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        dat->call = more;
    }
    dat->call[dat->calls++] = call;
    return 0;
}

static int read_line(hl_dat *dat, char *line)
{
    char *rest = strchr(line, ' ');
    if (rest == NULL)
        return *line != '\0';
    *rest++ = '\0';
    if (strcmp(line, "CMDLINE") == 0) {
        dat->command = rest;
        return 0;
    }
    if (strcmp(line, "CHLD") == 0)
        return read_child(dat, rest);
    if (strcmp(line, "FUNC") == 0)
        return read_call(dat, rest);
    if (strcmp(line, "MEM") != 0)
        return 0;
    char *time = last_word(rest);
    hl_dat_point p;
    return point(rest, time, &p) ? add_point(&dat->memory, p) : 1;
}

static int by_time(const void *a, const void *b)
{
    double x = ((const hl_dat_point *)a)->time_s, y = ((const hl_dat_point *)b)->time_s;
    return (x > y) - (x < y);
}

static void in_order(hl_dat_series *series)
{
    if (series->n > 1)
        qsort(series->point, series->n, sizeof *series->point, by_time);
}

int hl_dat_parse(hl_dat *dat, char *text)
{
    *dat = (hl_dat){.text = text, .command = ""};
    for (char *line = text, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        size_t letters = strlen(line);
        if (letters > 0 && line[letters - 1] == '\r')
            line[letters - 1] = '\0';
        int error = read_line(dat, line);
        if (error < 0) {
            hl_dat_release(dat);
            return error;
        }
        dat->unread += error > 0;
    }
    in_order(&dat->memory);
    for (size_t i = 0; i < dat->children; i++)
        in_order(&dat->child[i].series);
    return 0;
}

int hl_dat_read(hl_dat *dat, const char *path)
{
    *dat = (hl_dat){.command = ""};
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    size_t used = 0, room = 1 << 16;
    char *text = NULL;
    int error = 0;
    for (;;) {
        char *more = realloc(text, room);
        if (more == NULL) {
            error = -ENOMEM;
            break;
        }
        text = more;
        errno = 0;
        used += fread(text + used, 1, room - 1 - used, file);
        if (ferror(file))
            error = errno ? -errno : -EIO;
        if (used < room - 1)
            break;
        room *= 2;
    }
    fclose(file);
    if (error) {
        free(text);
        return error;
    }
    text[used] = '\0';
    return hl_dat_parse(dat, text);
}

void hl_dat_release(hl_dat *dat)
{
    for (size_t i = 0; i < dat->children; i++)
        free(dat->child[i].series.point);
    free(dat->child);
    free(dat->call);
    free(dat->memory.point);
    free(dat->text);
    *dat = (hl_dat){.command = ""};
}

/* -------------------------------------------------------------------------------------------------------- answers */

static void higher(hl_dat_point p, hl_dat_point *peak, bool *some)
{
    if (!*some || p.mib > peak->mib)
        *peak = p;
    *some = true;
}

bool hl_series_peak(const hl_dat_series *series, hl_dat_point *peak)
{
    bool some = false;
    for (size_t i = 0; i < series->n; i++)
        higher(series->point[i], peak, &some);
    return some;
}

bool hl_dat_peak(const hl_dat *dat, const char *function, hl_dat_point *peak)
{
    if (function == NULL)
        return hl_series_peak(&dat->memory, peak);
    bool some = false;
    for (size_t c = 0; c < dat->calls; c++) {
        const hl_dat_call *call = &dat->call[c];
        if (strcmp(call->name, function) != 0)
            continue;
        higher(call->begin, peak, &some);
        higher(call->end, peak, &some);
        for (size_t i = 0; i < dat->memory.n; i++) {
            double t = dat->memory.point[i].time_s;
            if (call->begin.time_s <= t && t <= call->end.time_s)
                higher(dat->memory.point[i], peak, &some);
        }
    }
    return some;
}

bool hl_series_slope(const hl_dat_series *series, double *slope, double *at_first)
{
    double n = (double)series->n, t = 0, m = 0, tt = 0, tm = 0;
    if (series->n < 2)
        return false;
    double first = series->point[0].time_s;
    for (size_t i = 0; i < series->n; i++) {
        t += series->point[i].time_s - first;
        m += series->point[i].mib;
    }
    t /= n;
    m /= n;
    for (size_t i = 0; i < series->n; i++) {
        double dt = series->point[i].time_s - first - t;
        tt += dt * dt;
        tm += dt * (series->point[i].mib - m);
    }
    if (tt <= 0)
        return false;
    *slope = tm / tt;
    *at_first = m - *slope * t;
    return true;
}
