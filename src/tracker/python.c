/*
 * python.c - whether there is an interpreter, and what is recorded of it. So far: that it is there.
 */
#include "python.h"

#include <dlfcn.h>

bool hl_python_is_here(void) { return dlsym(RTLD_DEFAULT, "Py_GetVersion") || dlsym(RTLD_DEFAULT, "_PyRuntime"); }

void hl_python_join(void)
{
    if (hl_python_is_here())
        hl_tracker_set_recording(HL_RECORDING_MALLOC, "Python stacks are not recorded by this build");
}

void hl_python_check(void) {}

bool hl_python_made(const void *caller) { return false; }
