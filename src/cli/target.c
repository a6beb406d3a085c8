/* target.c - see target.h. */
#include "target.h"
#include "words.h"

#include "error.h"
#include "install.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void set_stem(hl_target *t, const char *name)
{
    const char *slash = strrchr(name, '/');
    snprintf(t->stem_room, sizeof t->stem_room, "%s", slash != NULL && slash[1] != '\0' ? slash + 1 : name);
    char *dot = strrchr(t->stem_room, '.');
    if (dot != NULL && dot != t->stem_room &&
        (strcmp(dot, ".py") == 0 || strcmp(dot, ".pyw") == 0 || strcmp(dot, ".pyc") == 0 || strcmp(dot, ".pyz") == 0))
        *dot = '\0';
    t->stem = t->stem_room;
}

/* The beginning of a file says that it is no Python: a program, which `--` would run. */
static bool is_program(int fd)
{
    char head[4] = "";
    return pread(fd, head, 4, 0) == 4 && memcmp(head, "\177ELF", 4) == 0;
}

static int check_script(const char *script)
{
    struct stat found;
    int fd = open(script, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = fd < 0 ? errno : 0;
    if (error == ENOENT || error == ENOTDIR) {
        char with_suffix[PATH_MAX], path[PATH_MAX];
        snprintf(with_suffix, sizeof with_suffix, "%s.py", script);
        if (access(with_suffix, R_OK) == 0)
            hl_error("%s: no such file (did you mean %s?)", script, with_suffix);
        else if (strchr(script, '/') == NULL && hl_executable_find(script, path) == 0)
            hl_error("%s: no such script (to run the program %s: heapline run -- %s ..)", script, path, script);
        else
            hl_error("%s: no such file (what follows the options is a script; a program of any kind: heapline run -- "
                     "PROGRAM)",
                     script);
        return HL_EXIT_NOT_FOUND;
    }
    if (error) {
        hl_error("%s: cannot read the script: %s", script, hl_error_text(error));
        return HL_EXIT_NOT_EXECUTABLE;
    }
    bool program = fstat(fd, &found) == 0 && S_ISREG(found.st_mode) && is_program(fd);
    close(fd);
    if (program) {
        hl_error("%s: this is a program, not a Python script (heapline run -- %s ..)", script, script);
        return HL_EXIT_NOT_EXECUTABLE;
    }
    return 0;
}

static int find_executable(hl_target *t, const char *name)
{
    int error = hl_executable_find(name, t->path);
    if (error == -ENOENT) {
        hl_error("%s: command not found%s", name, strchr(name, '/') == NULL ? " in PATH" : "");
        return HL_EXIT_NOT_FOUND;
    }
    if (error) {
        struct stat found;
        bool folder = stat(name, &found) == 0 && S_ISDIR(found.st_mode);
        hl_error("%s: cannot be executed: %s", name, folder ? "is a folder" : hl_error_text(error));
        return HL_EXIT_NOT_EXECUTABLE;
    }
    return 0;
}

static int find_python(hl_target *t, const hl_target_words *w)
{
    if (w->python != NULL)
        return find_executable(t, w->python);
    if (hl_python_find(w->called_as, t->path) == 0)
        return 0;
    hl_error("no python3 beside heapline or in PATH (--python PATH names one)");
    return HL_EXIT_NOT_FOUND;
}

int hl_target_find(hl_target *t, const hl_target_words *w)
{
    *t = (hl_target){.any = w->any};
    t->argv = calloc((size_t)w->n + 4, sizeof *t->argv);
    if (t->argv == NULL) {
        hl_error("%s", hl_error_text(ENOMEM));
        return HL_EXIT_OURS;
    }
    char **to = t->argv;
    int status;
    if (w->any) {
        status = find_executable(t, w->words[0]);
        set_stem(t, w->words[0]);
    } else {
        status = find_python(t, w);
        /* As typed, or the path that was found: a venv's Python finds its venv by this name. */
        *to++ = t->path;
        char *option = w->module != NULL ? "-m" : w->code != NULL ? "-c" : NULL;
        if (option != NULL) {
            *to++ = option;
            *to++ = (char *)(w->module != NULL ? w->module : w->code);
            set_stem(t, w->module != NULL ? w->module : "python");
        } else if (w->n > 0 && strcmp(w->words[0], "-") != 0) {
            if (status == 0)
                status = check_script(w->words[0]);
            set_stem(t, w->words[0]);
        } else
            set_stem(t, "python");
    }
    if (status)
        return status;
    memcpy(to, w->words, (size_t)w->n * sizeof *to);
    hl_join_words(t->command, sizeof t->command, t->argv + !w->any);
    if (t->command[0] == '\0')
        snprintf(t->command, sizeof t->command, "python");
    return 0;
}
