/*
 * The api worker: `cardx-api SETTINGS fast|slow|miss`, with the pool's
 * listening socket as descriptor 0.  It does one request at a time, with
 * blocking calls, on a connection that ends with it: a process of libfcgi
 * belongs to a connection for as long as that is open, so it is never kept.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcgiapp.h>

#include "api.h"
#include "process.h"


/* Reads the body, unless it is larger than the route takes (413). */
static bool
read_body(cx_request_t *r, FCGX_Request *fcgi)
{
    char *body;
    size_t max;
    long long len;
    const char *text;

    text = cx_parameter(r, "CONTENT_LENGTH");
    len = text != NULL ? strtoll(text, NULL, 10) : 0;
    max = r->route->body_max != 0 ? r->route->body_max : CX_BODY_MAX;

    if (len <= 0) {
        return true;
    }

    if ((unsigned long long) len > max) {
        cx_problem(r, 413, "too_large", "The body has at most %zu bytes.", max);
        return false;
    }

    body = talloc_array(r, char, (size_t) len + 1);

    if (body == NULL || FCGX_GetStr(body, (int) len, fcgi->in) != (int) len) {
        cx_problem(r, 400, "incomplete", "The body is incomplete.");
        return false;
    }

    body[len] = '\0';
    r->body = body;
    r->body_len = (size_t) len;

    return true;
}


static void
send_head(cx_request_t *r, FCGX_Request *fcgi)
{
    FCGX_FPrintF(fcgi->out, "Status: %d %s\r\n", r->status,
                 cx_reason(r->status));

    if (r->answer_type != NULL) {
        FCGX_FPrintF(fcgi->out, "Content-Type: %s\r\n", r->answer_type);
    }

    if (r->headers != NULL) {
        FCGX_PutS(r->headers, fcgi->out);
    }

    if (r->headers == NULL || strstr(r->headers, "Cache-Control:") == NULL) {
        FCGX_PutS("Cache-Control: no-store\r\n", fcgi->out);
    }

    if (r->status != 204 && r->status != 304 && r->part == NULL) {
        FCGX_FPrintF(fcgi->out, "Content-Length: %lu\r\n",
                     (unsigned long) r->answer_len);
    }

    FCGX_PutS("\r\n", fcgi->out);
}


/* False: it could not be made, or nobody takes it. */
static bool
send_parts(cx_request_t *r, FCGX_Request *fcgi)
{
    bool ok;
    size_t len;
    cx_buf_t out;

    do {
        cx_buf_init(&out, talloc_new(r));
        ok = r->part(r, r->part_data, &out);
        len = ok ? out.len : 0;
        ok = ok && FCGX_PutStr(cx_buf_text(&out), (int) len, fcgi->out) >= 0;
        talloc_free(out.ctx);
    } while (ok && len > 0);

    return ok;
}


static void
send_answer(cx_request_t *r, FCGX_Request *fcgi)
{
    bool ok;
    static const char no_record[8];

    ok = true;
    send_head(r, fcgi);

    if (strcmp(r->method, "HEAD") == 0) {
        /* no body */

    } else if (r->part != NULL) {
        ok = send_parts(r, fcgi);

    } else {
        FCGX_PutStr(r->answer, (int) r->answer_len, fcgi->out);
    }

    if (ok) {
        FCGX_Finish_r(fcgi);
        return;
    }

    /* nginx would take a close for the end.  A record of no version of FastCGI
     * is an error, and has it cut the client's connection, too. */
    cx_error("%s %s was cut", r->route->method, r->route->pattern);
    (void) !write(fcgi->ipcFd, no_record, sizeof(no_record));
    FCGX_Free(fcgi, 1);
}


static void
serve(cx_api_t *api, FCGX_Request *fcgi)
{
    cx_request_t *r;

    r = cx_request_make(api, fcgi->envp);
    if (r == NULL) {
        cx_error("no memory");
        return;
    }

    cx_route(r);

    /* before anything is read that may be projected */
    (void) cx_projector_epoch(&api->projector);

    if (r->route != NULL && cx_authenticate(r) && read_body(r, fcgi)
        && cx_read_body(r)) {
        cx_run(r);
    }

    send_answer(r, fcgi);
    talloc_free(r);
}


/* Waits for a connection with TERM let in only while waiting, so that none
 * is missed between looking at cx_stopping and going to sleep. */
static bool
wait_for_connection(const sigset_t *while_waiting)
{
    struct pollfd pfd = { STDIN_FILENO, POLLIN, 0 };

    return !cx_stopping && ppoll(&pfd, 1, NULL, while_waiting) == 1;
}


int
main(int argc, char **argv)
{
    int rc;
    char name[32];
    cx_api_t api;
    FCGX_Request fcgi;
    sigset_t blocked, normal;
    cx_settings_t *settings;

    snprintf(name, sizeof(name), "api-%s", argc > 2 ? argv[2] : "fast");
    settings = cx_process_start(argc, argv, name);

    if (argc != 3) {
        fprintf(stderr, "usage: cardx-api SETTINGS-FILE fast|slow|miss\n");
        return 2;
    }

    memset(&api, 0, sizeof(api));
    api.settings = settings;
    api.pool = argv[2];
    cx_projector_init(&api.projector, settings, settings->postgresql);
    api.pg = api.projector.pg;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &normal);

    /* several processes wait for the same connection: who comes too late must
     * not hang in accept() */
    if (FCGX_Init() != 0
        || FCGX_InitRequest(&fcgi, STDIN_FILENO, FCGI_FAIL_ACCEPT_ON_INTR) != 0
        || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == -1) {
        cx_error("descriptor 0 is not a listening socket");
        return 1;
    }

    cx_info("started");

    while (!cx_stopping) {
        if (!wait_for_connection(&normal)) {
            continue;
        }

        rc = FCGX_Accept_r(&fcgi);

        if (rc == 0) {
            serve(&api, &fcgi);

        } else if (rc != -EAGAIN && rc != -EINTR && rc != -ECONNABORTED) {
            cx_error("accept: %d", rc);
        }
    }

    FCGX_ShutdownPending();
    talloc_free(settings);

    return 0;
}
