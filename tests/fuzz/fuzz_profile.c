/*
 * fuzz_profile.c - profiles that something has changed (mutated.h): opening one gives a profile or an error in words, and
 * reading all of it gives rows or SQL errors; nothing else.
 */
#include "mutated.h"

#include <sqlite3.h>

static void read_all(hl_profile *profile)
{
    static const char *const tables[] = {"meta",     "label", "process", "mapping",    "thread",   "file",
                                         "function", "frame", "stack",   "stack_kind", "stat",     "allocator",
                                         "tick",     "cell",  "mark",    "note",       "call_site"};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char sql[64];
        sqlite3_stmt *s = NULL;
        snprintf(sql, sizeof sql, "SELECT * FROM %s LIMIT 5000", tables[i]);
        if (sqlite3_prepare_v2(hl_profile_database(profile), sql, -1, &s, NULL) != SQLITE_OK)
            continue;
        while (sqlite3_step(s) == SQLITE_ROW) {
            for (int c = 0; c < sqlite3_column_count(s); c++)
                sqlite3_column_blob(s, c);
        }
        sqlite3_finalize(s);
    }
}

static int progress(void *left)
{
    return --*(int *)left <= 0; /* a changed view may ask for more than there is time for */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hl_profile *profile;
    char why[200];
    int error = hl_profile_open(&profile, mutated(data, size), why, sizeof why);
    if ((error == 0) != (profile != NULL) || (error != 0) != (why[0] != 0))
        abort();
    if (!error) {
        int left = 1000;
        sqlite3_progress_handler(hl_profile_database(profile), 10000, progress, &left);
        read_all(profile);
        hl_profile_close(profile);
    }
    return 0;
}
