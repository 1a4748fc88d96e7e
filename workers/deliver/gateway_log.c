#include "gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cx_buf.h"
#include "cx_json.h"
#include "log.h"


static char *
line_of(TALLOC_CTX *ctx, const char *to, const char *text, size_t *len)
{
    char at[32];
    time_t now;
    struct tm tm;
    cx_json_t *json;
    char *line;

    now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);

    json = cx_json_object(ctx);
    cx_json_put(json, "to", cx_json_string(json, to));
    cx_json_put(json, "text", cx_json_string(json, text));
    cx_json_put(json, "at", cx_json_string(json, at));

    line = cx_json_write(ctx, json, NULL);
    line = cx_must(talloc_strdup_append(line, "\n"));
    *len = strlen(line);

    return line;
}


/* Appends the line whole or not at all; under the lock nobody else appends,
 * so a part of it can be taken back. */
static cx_gateway_rc_t
append(int fd, const char *line, size_t len)
{
    ssize_t n;
    struct stat st;

    if (flock(fd, LOCK_EX) == -1 || fstat(fd, &st) == -1) {
        return CX_GATEWAY_NOT_CALLED;
    }

    n = write(fd, line, len);

    if (n == (ssize_t) len) {
        return fdatasync(fd) == 0 ? CX_GATEWAY_SENT : CX_GATEWAY_DOUBTFUL;
    }

    if (n >= 0) {
        errno = ENOSPC;
    }

    return n <= 0 || ftruncate(fd, st.st_size) == 0 ? CX_GATEWAY_NOT_CALLED
                                                    : CX_GATEWAY_DOUBTFUL;
}


cx_gateway_rc_t
cx_gateway_log(const cx_settings_t *settings, TALLOC_CTX *ctx, const char *id,
               const char *to, const char *text)
{
    int fd;
    char *line;
    size_t len;
    cx_gateway_rc_t rc;

    (void) id; /* nobody reports what became of a line */

    line = line_of(ctx, to, text, &len);

    fd = open(settings->sms_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC,
              0600);
    if (fd == -1) {
        cx_error("%s: %s", settings->sms_log, strerror(errno));
        return CX_GATEWAY_NOT_CALLED;
    }

    rc = append(fd, line, len);

    if (rc != CX_GATEWAY_SENT) {
        cx_error("%s: %s", settings->sms_log, strerror(errno));
    }

    close(fd);

    return rc;
}
