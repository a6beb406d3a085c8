/*
 * lines_python.h - the interpreter's functions that the line profiler calls, looked up in the running program. All need the GIL.
 * Objects are `void *`: their layout is not known here.
 */
#ifndef HL_TRACKER_LINES_PYTHON_H
#define HL_TRACKER_LINES_PYTHON_H

#include <stddef.h>
#include <stdint.h>

/* PyMethodDef, of which a callable is made (PyCFunction_NewEx); METH_FASTCALL's function. */
typedef void *hl_py_fast(void *self, void *const *arguments, intptr_t count);
typedef struct hl_py_method {
    const char *name;
    hl_py_fast *function;
    int flags;
    const char *doc;
} hl_py_method;
enum { HL_PY_METH_FASTCALL = 0x80 };

typedef struct hl_py {
    void (*increase)(void *);
    void (*decrease)(void *);
    void (*fetch_error)(void **, void **, void **);
    void (*restore_error)(void *, void *, void *);
    void (*clear_error)(void);
    void *(*error)(void);       /* PyErr_Occurred: borrowed */
    void *(*sys)(const char *); /* PySys_GetObject: borrowed */
    void *(*attribute)(void *, const char *);
    void *(*integer)(long);
    long (*as_long)(void *);
    void *(*text)(const char *);
    void *(*call)(void *, ...);                        /* PyObject_CallFunctionObjArgs */
    void *(*function)(hl_py_method *, void *, void *); /* PyCFunction_NewEx */
    void *(*interpreter)(void);                        /* PyInterpreterState_Get; 3.8: _PyInterpreterState_Get */
    void *(*main_interpreter)(void);
    void *none; /* borrowed: Py_None */
} hl_py;
extern __attribute__((visibility("hidden"))) hl_py hl_py_api;

/* Looked up once. False: this interpreter lacks one. */
_Bool hl_py_find(void);

#endif
