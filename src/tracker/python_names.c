/*
 * python_names.c - names of Python's threads.
 */
#include "python_private.h"

void hl_python_names_find(void) {}
