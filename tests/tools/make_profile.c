/*
 * make_profile.c - writes a made-up profile through the real writer, for tests of reports.
 *
 *     make_profile OUTPUT [key=number ..] [python=3.12] [end=exit|signal|oom|running|stopped] [source=DIRECTORY]
 *
 * Keys: seed processes threads codes nodes stats blocks ticks cell_ticks status folded. Defaults:
 * tests/unit/synthetic.c.
 */
#include "synthetic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool number(hl_synthetic_options *o, const char *key, size_t key_bytes, const char *value)
{
    struct {
        const char *name;
        uint32_t *at;
    } numbers[] = {
        {"processes", &o->processes}, {"threads", &o->threads},       {"codes", &o->codes},
        {"nodes", &o->nodes},         {"stats", &o->stats},           {"blocks", &o->blocks},
        {"ticks", &o->ticks},         {"cell_ticks", &o->cell_ticks}, {"status", (uint32_t *)&o->status},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strlen(numbers[i].name) == key_bytes && strncmp(numbers[i].name, key, key_bytes) == 0) {
            *numbers[i].at = (uint32_t)strtoul(value, NULL, 10);
            return true;
        }
    }
    return false;
}

static bool set(hl_synthetic_options *o, const char *word)
{
    static const char *const ends[] = {"exit", "signal", "oom", "running", "stopped"};
    const char *value = strchr(word, '=');
    if (!value)
        return false;
    size_t n = (size_t)(value++ - word);
    if (number(o, word, n, value))
        return true;
    if (strncmp(word, "seed=", 5) == 0) {
        o->seed = strtoull(value, NULL, 10);
    } else if (strncmp(word, "folded=", 7) == 0) {
        o->folded = value[0] == '1';
    } else if (strncmp(word, "source=", 7) == 0) {
        o->source_directory = value;
    } else if (strncmp(word, "python=", 7) == 0) {
        unsigned major = 0, minor = 0;
        sscanf(value, "%u.%u", &major, &minor);
        o->python = (uint16_t)(major << 8 | minor);
    } else if (strncmp(word, "end=", 4) == 0) {
        for (int i = 0; i < 5; i++) {
            if (strcmp(value, ends[i]) == 0) {
                o->end = (hl_synthetic_end)i;
                return true;
            }
        }
        return false;
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    hl_synthetic_options options = hl_synthetic_defaults;
    for (int i = 2; i < argc; i++) {
        if (!set(&options, argv[i])) {
            fprintf(stderr, "make_profile: %s: not a setting\n", argv[i]);
            return 2;
        }
    }
    if (argc < 2) {
        fprintf(stderr, "usage: make_profile OUTPUT [key=value ..]\n");
        return 2;
    }
    hl_synthetic *s = hl_synthetic_make(&options);
    if (!s) {
        fprintf(stderr, "make_profile: out of memory, or the source files cannot be written\n");
        return 1;
    }
    int error = hl_synthetic_write(s, argv[1]);
    hl_synthetic_free(s);
    return error ? 1 : 0;
}
