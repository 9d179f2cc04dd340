/*
 * No part of the runtime: preloaded into a program, it shows a folder in place of /sys/class/drm, because the
 * dispatcher wants to see a render node there before it tries a legacy runtime. VPLSIM_SYSFS names the folder.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char shown_at[] = "/sys/class/drm/";

static FILE *open_as(const char *symbol, const char *path, const char *mode)
{
    /* ISO C has no conversion between object and function pointers; POSIX has (dlsym, Application Usage). */
    FILE *(*next)(const char *, const char *);
    *(void **)&next = dlsym(RTLD_NEXT, symbol);
    const char *folder = getenv("VPLSIM_SYSFS");
    char other[4096];

    if (folder != NULL && *folder != '\0' && strncmp(path, shown_at, sizeof shown_at - 1) == 0) {
        snprintf(other, sizeof other, "%s/%s", folder, path + sizeof shown_at - 1);
        path = other;
    }
    return next(path, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    return open_as("fopen", path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return open_as("fopen64", path, mode);
}
