/*
 * names.c - names that the program gives its threads: pthread_setname_np and prctl(PR_SET_NAME), of the calling thread. What
 * is recorded is what the kernel has kept of it.
 *
 * prctl also tells when a program is about to forbid itself system calls.
 */
#include "ring.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>

static void record_own_name(void)
{
    enum { KERNEL_NAME_BYTES = 16 };
    char name[KERNEL_NAME_BYTES + 1] = "";
    if (hl_os_call(SYS_prctl, PR_GET_NAME, (long)name, 0, 0, 0, 0) != 0)
        return;
    hl_wire_writer *w = hl_enter(0);
    if (!w)
        return;
    hl_put_text(w, HL_TEXT_THREAD_NAME, name, strlen(name));
    hl_leave(w);
}

HL_EXPORT int pthread_setname_np(pthread_t thread, const char *name)
{
    if (!hl_tracker.real.pthread_setname_np)
        return ENOSYS;
    int error = hl_tracker.real.pthread_setname_np(thread, name);
    if (error == 0 && pthread_equal(thread, pthread_self()))
        record_own_name();
    return error;
}

HL_EXPORT int prctl(int option, ...)
{
    va_list more;
    va_start(more, option);
    unsigned long a = va_arg(more, unsigned long), b = va_arg(more, unsigned long);
    unsigned long c = va_arg(more, unsigned long), d = va_arg(more, unsigned long);
    va_end(more);
    long result = hl_os_call(SYS_prctl, option, (long)a, (long)b, (long)c, (long)d, 0);
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    if (option == PR_SET_NAME)
        record_own_name();
    else if (option == PR_SET_NO_NEW_PRIVS || option == PR_SET_SECCOMP)
        atomic_store(&hl_tracker.confined, true);
    return (int)result;
}
