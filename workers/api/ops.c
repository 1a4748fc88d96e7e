/* Operation: health and metrics, on a port that only the host reaches. */

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ops.sql.h"
#include "request.h"


static bool
postgresql_answers(cx_request_t *r)
{
    PGresult *result;

    return cx_pg_query(r->api->pg, r, &result, &SQL_HEALTH) == CX_PG_OK;
}


/*
 * GETEX counts as writing, which one that is read-only does not do; the edge
 * believes no such Redis.  One that is full still answers, and takes denials.
 */
static bool
redis_answers(cx_request_t *r)
{
    redisReply *reply;

    reply = cx_redis_words(r->api->projector.redis, r, "GETEX", CX_READY, NULL);

    return reply != NULL
           && (reply->type == REDIS_REPLY_STRING
               || reply->type == REDIS_REPLY_NIL);
}


static bool
is_alive(const char *dir, const char *name)
{
    int n;
    long pid;
    FILE *file;
    char path[512];

    n = snprintf(path, sizeof(path), "%s/%s", dir, name);

    if (n < 0 || (size_t) n >= sizeof(path)) {
        return false;
    }

    file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }

    if (fscanf(file, "%ld", &pid) != 1) {
        pid = 0;
    }

    fclose(file);

    return pid > 0 && (kill((pid_t) pid, 0) == 0 || errno == EPERM);
}


/* Every process that has a pid file is there; at least one has. */
static bool
workers_answer(cx_request_t *r)
{
    int n;
    bool all;
    DIR *dir;
    size_t len;
    struct dirent *entry;
    const char *path = r->api->settings->pid_dir;

    dir = opendir(path);
    if (dir == NULL) {
        return false;
    }

    n = 0;
    all = true;

    while ((entry = readdir(dir)) != NULL) {
        len = strlen(entry->d_name);

        if (len > 4 && strcmp(entry->d_name + len - 4, ".pid") == 0) {
            all = is_alive(path, entry->d_name) && all;
            n++;
        }
    }

    closedir(dir);

    return all && n > 0;
}


/* The process that takes pictures listens once its fonts are read. */
static bool
picture_answers(cx_request_t *r)
{
    int n, fd;
    bool ok;
    struct sockaddr_un address;

    memset(&address, 0, sizeof(address));
    address.sun_family = AF_UNIX;
    n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/picture.sock",
                 r->api->settings->run_dir);

    if (n < 0 || (size_t) n >= sizeof(address.sun_path)) {
        return false;
    }

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1) {
        return false;
    }

    ok = connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0;
    close(fd);

    return ok;
}


static void
healthz(cx_request_t *r)
{
    bool ok, all;
    cx_json_t *json;

    json = cx_json_object(r);
    all = true;

    ok = postgresql_answers(r);
    all = all && ok;
    cx_json_put(json, "postgresql", cx_json_boolean(json, ok));

    ok = redis_answers(r);
    all = all && ok;
    cx_json_put(json, "redis", cx_json_boolean(json, ok));

    ok = workers_answer(r) && picture_answers(r);
    all = all && ok;
    cx_json_put(json, "workers", cx_json_boolean(json, ok));

    cx_answer_json(r, all ? 200 : 503, json);
}


/* One gauge with its text (Prometheus' exposition format 0.0.4). */
static char *
gauge(char *text, const char *name, const char *help)
{
    return talloc_asprintf_append_buffer(
        text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}


/* The nginx side has its own (docs/directives.md, cardx_metrics). */
static void
metrics(cx_request_t *r)
{
    int i, column;
    char *text;
    PGresult *result;
    static const char *const names[] = { "cardx_outbox_waiting",
                                         "cardx_outbox_oldest_seconds" };
    static const char *const help[] = {
        "Effects of commits that are not yet done.",
        "Age of the oldest of them."
    };

    text = gauge(talloc_strdup(r, ""), "cardx_up", "Whether a part answers.");
    text =
        talloc_asprintf_append_buffer(text,
                                      "cardx_up{part=\"postgresql\"} %d\n"
                                      "cardx_up{part=\"redis\"} %d\n"
                                      "cardx_up{part=\"workers\"} %d\n"
                                      "cardx_up{part=\"picture\"} %d\n",
                                      postgresql_answers(r), redis_answers(r),
                                      workers_answer(r), picture_answers(r));

    if (cx_pg_query(r->api->pg, r, &result, &SQL_OUTBOX_DEPTH) == CX_PG_OK) {
        for (column = 0; column < 2; column++) {
            text = gauge(text, names[column], help[column]);

            for (i = 0; i < PQntuples(result); i++) {
                text = talloc_asprintf_append_buffer(
                    text, "%s{effect=\"%s\"} %s\n", names[column],
                    cx_pg_text(result, i, 0),
                    cx_pg_text(result, i, column + 1));
            }
        }
    }

    cx_answer(r, 200, "text/plain; version=0.0.4", text, strlen(text));
}


const cx_route_t cx_routes_ops[] = {
    { "GET", "/metrics/workers", metrics, CX_ANONYMOUS, 0 },
    { "GET", "/healthz", healthz, CX_ANONYMOUS, 0 },
    { NULL, NULL, NULL, 0, 0 },
};
