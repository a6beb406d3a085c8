/*
 * deny.c - runs a program as an old kernel or a strict container does: `deny SYSCALL ERROR PROGRAM [arguments]`, where
 * ERROR is ENOSYS or EPERM. The system call fails so in the program and all its children.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    unsigned number;
} calls[] = {
    {"membarrier", SYS_membarrier}, {"memfd_create", SYS_memfd_create},   {"pidfd_open", SYS_pidfd_open},
    {"getrandom", SYS_getrandom},   {"close_range", SYS_close_range},     {"set_robust_list", SYS_set_robust_list},
    {"clone3", SYS_clone3},         {"sigaltstack", SYS_sigaltstack},     {"statx", SYS_statx},
    {"madvise", SYS_madvise},       {"fallocate", SYS_fallocate},         {"fdatasync", SYS_fdatasync},
    {"fsync", SYS_fsync},           {"epoll_create1", SYS_epoll_create1}, {"prlimit64", SYS_prlimit64},
};

int main(int argc, char **argv)
{
    unsigned number = 0;
    for (size_t i = 0; argc > 3 && i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, argv[1]) == 0)
            number = calls[i].number + 1;
    if (!number) {
        fputs("usage: deny SYSCALL ENOSYS|EPERM PROGRAM [arguments]\n", stderr);
        return 2;
    }
    unsigned error = strcmp(argv[2], "EPERM") == 0 ? EPERM : ENOSYS;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number - 1, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("deny");
        return 3;
    }
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 127;
}
