/*
 * profile_folder.h - a folder of its own for each test of the profile, and the path of a profile in it.
 */
#ifndef HL_TESTS_PROFILE_FOLDER_H
#define HL_TESTS_PROFILE_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char directory[64], path[128];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/heapline-test-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof path, "%s/a.heapline", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

#endif
