/* oom.c - see oom.h. Runs in the collector, when the program begins and when it has died. */
#include "oom.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number behind `key` and a blank, or the only number of the file when `key` is "". False: neither. */
static bool read_number(const char *folder, const char *file, const char *key, uint64_t *number)
{
    char path[PATH_MAX + 64], line[256];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool found = false;
    size_t letters = strlen(key);
    while (!found && fgets(line, sizeof line, f) != NULL) {
        const char *at = line + letters + (letters > 0);
        if ((letters > 0 && (strncmp(line, key, letters) != 0 || line[letters] != ' ')) || *at < '0' || *at > '9')
            continue;
        *number = strtoull(at, NULL, 10);
        found = true;
    }
    fclose(f);
    return found;
}

static bool count(const hl_oom *oom, uint64_t *kills)
{
    if (oom->folder[0] == '\0')
        return read_number("/proc", "vmstat", "oom_kill", kills);
    return read_number(oom->folder, oom->second_version ? "memory.events" : "memory.oom_control", "oom_kill", kills);
}

/* Where the memory controller of one version is mounted, and which cgroup is its root there. */
static bool find_mount(bool second_version, char *mount, char *root)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (f == NULL)
        return false;
    char line[2 * PATH_MAX], type[64], options[1024];
    bool found = false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        const char *behind = strstr(line, " - "); /* proc(5): fields of unknown number in front of it */
        if (behind == NULL || sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2 ||
            sscanf(behind, " - %63s %*s %1023s", type, options) != 2)
            continue;
        found = second_version ? strcmp(type, "cgroup2") == 0
                               : strcmp(type, "cgroup") == 0 && strstr(options, "memory") != NULL;
    }
    fclose(f);
    return found;
}

/* The process's cgroup of the memory controller. */
static bool find_cgroup(pid_t pid, bool second_version, char path[PATH_MAX])
{
    char name[64], line[PATH_MAX + 128];
    snprintf(name, sizeof name, "/proc/%d/cgroup", (int)pid);
    FILE *f = fopen(name, "re");
    if (f == NULL)
        return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':'), *at = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (at == NULL)
            continue;
        *at++ = '\0';
        found = second_version ? strcmp(line, "0:") == 0 : strstr(controllers, "memory") != NULL;
        if (found)
            snprintf(path, PATH_MAX, "%s", strcmp(at, "/") == 0 ? "" : at);
    }
    fclose(f);
    return found;
}

static bool find_folder(hl_oom *oom, pid_t pid, bool second_version)
{
    char mount[PATH_MAX], root[PATH_MAX], path[PATH_MAX];
    uint64_t kills;
    oom->second_version = second_version;
    if (!find_mount(second_version, mount, root) || !find_cgroup(pid, second_version, path))
        return false;
    oom->mount_bytes = strlen(mount);
    size_t root_bytes = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool below = strncmp(path, root, root_bytes) == 0; /* a container sees only its own part mounted */
    if (snprintf(oom->folder, sizeof oom->folder, "%s%s", mount, below ? path + root_bytes : path) >=
        (int)sizeof oom->folder)
        return false;
    if (count(oom, &kills))
        return true;
    snprintf(oom->folder, sizeof oom->folder, "%s", mount);
    return count(oom, &kills);
}

void hl_oom_begin(hl_oom *oom, pid_t pid)
{
    memset(oom, 0, sizeof *oom);
    if (!find_folder(oom, pid, true) && !find_folder(oom, pid, false))
        oom->folder[0] = '\0';
    oom->counted = count(oom, &oom->kills);
}

bool hl_oom_happened(hl_oom *oom, uint64_t *limit_bytes, char *scope, size_t scope_bytes)
{
    uint64_t kills;
    if (!oom->counted || !count(oom, &kills) || kills <= oom->kills)
        return false;
    oom->kills++;
    *limit_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    snprintf(scope, scope_bytes, "machine");
    char folder[PATH_MAX];
    strcpy(folder, oom->folder);
    while (folder[0] != '\0' && strlen(folder) >= oom->mount_bytes) {
        uint64_t limit;
        if (read_number(folder, oom->second_version ? "memory.max" : "memory.limit_in_bytes", "", &limit) &&
            limit < *limit_bytes) {
            *limit_bytes = limit;
            const char *name = folder + oom->mount_bytes;
            snprintf(scope, scope_bytes, "cgroup %s", *name != '\0' ? name : "/");
        }
        *strrchr(folder, '/') = '\0';
    }
    return true;
}
