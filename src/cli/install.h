/*
 * install.h - where this heapline lies: its own binary, the tracker's library, the Python beside it.
 */
#ifndef HL_CLI_INSTALL_H
#define HL_CLI_INSTALL_H

#include <limits.h>
#include <stddef.h>

typedef struct hl_install {
    char binary[PATH_MAX];  /* absolute, links resolved */
    char tracker[PATH_MAX]; /* absolute path of libheapline.so, fit for LD_PRELOAD (no blank or colon in it) */
} hl_install;

/* 0, -ENOENT when the library is not where it belongs, or the errno of looking. */
int hl_install_find(hl_install *install);

/* The Python that belongs to this heapline: the one beside the `heapline` that was called or its real file (system folders
 * are not "beside": there PATH decides), then python3 and python in PATH. Absolute path, 0; -ENOENT. */
int hl_python_find(const char *called_as, char path[PATH_MAX]);

/* Looks `name` up as execvp does. 0 and an absolute path; -ENOENT; -EACCES when it is there and cannot be executed. */
int hl_executable_find(const char *name, char path[PATH_MAX]);

#endif
