/*
 * lines_python.c - looks up the interpreter's functions (lines_python.h).
 */
#include "lines_python.h"

#include <dlfcn.h>
#include <stdbool.h>

hl_py hl_py_api;

static bool find(void *place, const char *name)
{
    void *function = dlsym(RTLD_DEFAULT, name);
    *(void **)place = function;
    return function != NULL;
}

bool hl_py_find(void)
{
    hl_py *p = &hl_py_api;
    if (p->none)
        return true;
    bool all = find(&p->increase, "Py_IncRef") && find(&p->decrease, "Py_DecRef") &&
               find(&p->fetch_error, "PyErr_Fetch") && find(&p->restore_error, "PyErr_Restore") &&
               find(&p->clear_error, "PyErr_Clear") && find(&p->error, "PyErr_Occurred") &&
               find(&p->sys, "PySys_GetObject") && find(&p->attribute, "PyObject_GetAttrString") &&
               find(&p->integer, "PyLong_FromLong") && find(&p->as_long, "PyLong_AsLong") &&
               find(&p->text, "PyUnicode_FromString") && find(&p->call, "PyObject_CallFunctionObjArgs") &&
               find(&p->function, "PyCFunction_NewEx") && find(&p->main_interpreter, "PyInterpreterState_Main") &&
               (find(&p->interpreter, "PyInterpreterState_Get") || find(&p->interpreter, "_PyInterpreterState_Get"));
    return all && find(&p->none, "_Py_NoneStruct");
}
