/* record_options.c - what the options that run, env and collect share mean (recorder.h). */
#include "cli.h"

#include "recorder.h"

#include <string.h>

const char *const hl_children_names[] = {"none", "python", "all", NULL};

const char *hl_record_bad_label(const hl_record_options *o)
{
    for (size_t i = 0; i < o->labels.n; i++) {
        const char *equals = strchr(o->labels.at[i], '=');
        if (equals == NULL || equals == o->labels.at[i])
            return o->labels.at[i];
    }
    return NULL;
}
