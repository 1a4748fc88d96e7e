/* How the api worker is put together; handlers need request.h alone. */

#ifndef CX_API_H
#define CX_API_H

#include "request.h"

typedef struct cx_after_s cx_after_t;

struct cx_after_s {
    void (*call)(cx_request_t *r, void *data);
    void *data;
    cx_after_t *next;
};

/* A request from its FastCGI parameters; body not yet read.  NULL: no
 * memory. */
cx_request_t *cx_request_make(cx_api_t *api, char **environment);

/* A FastCGI parameter, NULL if absent or empty. */
const char *cx_parameter(const cx_request_t *r, const char *name);

/* Decodes %XX.  NULL: %00 or a broken escape. */
char *cx_percent_decode(TALLOC_CTX *ctx, const char *text, size_t len);

/* Splits, decodes and matches the path.  Sets r->route and r->params, or
 * answers 400, 404 or 405. */
void cx_route(cx_request_t *r);

/* Sets r->user_id from what nginx checked, or from the token itself; false:
 * answered 401 or 503. */
bool cx_authenticate(cx_request_t *r);

/* Checks the body's type and reads its JSON as the route asks; false:
 * answered. */
bool cx_read_body(cx_request_t *r);

/* A status' reason phrase. */
const char *cx_reason(int status);

/* Runs the handler, once per Idempotency-Key, commits, and calls what was
 * asked for after the commit. */
void cx_run(cx_request_t *r);

/* Commits what is open (unless the handler failed in a transaction of its
 * own) and runs the calls of cx_after(). */
void cx_finish(cx_request_t *r);

#endif
