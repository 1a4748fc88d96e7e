/* See log.h. */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define CX_LOG_LINE 2048

static const char *cx_log_name = "cardx";
static cx_log_level_t cx_log_level = CX_LOG_INFO;

static const char *const cx_log_levels[] = { "alert", "error", "warn", "info" };


void
cx_log_open(const char *name, cx_log_level_t level)
{
    cx_log_name = name;
    cx_log_level = level;
}


/* Control characters in a line could pass for another line. */
static void
cx_log_clean(char *p, const char *last)
{
    for (; p < last; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }
}


void
cx_log(cx_log_level_t level, const char *format, ...)
{
    char line[CX_LOG_LINE];
    struct timespec now;
    struct tm tm;
    va_list args;
    size_t head, len;
    int n, error;

    if (level > cx_log_level) {
        return;
    }

    error = errno;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);

    head = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    head +=
        (size_t) snprintf(line + head, sizeof(line) - head,
                          ".%03ldZ %.64s[%d] %s: ", now.tv_nsec / 1000000,
                          cx_log_name, (int) getpid(), cx_log_levels[level]);

    va_start(args, format);
    n = vsnprintf(line + head, sizeof(line) - head, format, args);
    va_end(args);

    len = head;
    if (n > 0) {
        len += (size_t) n < sizeof(line) - head ? (size_t) n
                                                : sizeof(line) - head - 1;
    }

    cx_log_clean(line + head, line + len);

    /* One write, so that lines of several processes stay whole; the NUL's
     * place takes the newline. */
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) == -1) {
        /* There is nowhere left to say so. */
    }

    errno = error;
}
