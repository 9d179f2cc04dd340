#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void trace(unsigned session, const char *format, ...)
{
    const char *path = getenv("VPLSIM_TRACE");
    char line[1024];
    int before = errno;
    va_list arguments;

    if (path == NULL || *path == '\0')
        return;
    int length = snprintf(line, sizeof line, "%ld %u ", (long)getpid(), session);
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length - 1, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 2)
        length = (int)sizeof line - 2;
    line[length++] = '\n';

    /* Opened for each line: the library comes and goes with the codecs, and one appending write is never torn apart. */
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file >= 0) {
        if (write(file, line, (size_t)length) < 0)
            perror("vplsim: VPLSIM_TRACE");
        close(file);
    }
    errno = before;
}
