/*
 * cache.h - symbol tables of earlier runs, a file for each build id in the user's cache directory. Internal to src/symbols.
 *
 * Files are replaced as a whole, so readers and writers of several collectors need no lock: of two that write the same object
 * at once, the later one's additions stay, and the other's are found again when needed. Anything wrong with the folder or a
 * file means that it is not there.
 */
#ifndef HL_SYMBOLS_CACHE_H
#define HL_SYMBOLS_CACHE_H

#include "symbol_table.h"

/* The folder (malloc): `given`, or the user's; null: no cache. */
char *hl_symbol_cache_folder(const char *given);

/* Fills an empty table with what is known of the build id. Whether there was anything. */
bool hl_symbol_cache_load(const char *folder, const char *build_id, hl_symbol_table *table);

/* Stores the table, then removes the files used longest ago while all together take more than `most_bytes`. */
int hl_symbol_cache_store(const char *folder, const char *build_id, hl_symbol_table *table, uint64_t most_bytes);

#endif
