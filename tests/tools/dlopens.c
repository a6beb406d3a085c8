/*
 * dlopens N LIBRARY.. - opens and closes libraries, N times in all, and prints the seconds that took: a recorder that
 * looks at every loaded object after each dlopen makes this a hundred times slower.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < atoi(argv[1]); i++) {
        void *library = dlopen(argv[2 + i % (argc - 2)], RTLD_NOW);
        if (!library) {
            fprintf(stderr, "dlopens: %s\n", dlerror());
            return 1;
        }
        dlclose(library);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.6f\n", (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9);
    return 0;
}
