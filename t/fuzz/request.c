/*
 * A request as it comes over FastCGI: method, address, type, languages and
 * body, one a line; then the router, the query's arguments, and the body's
 * reader.
 */

#include "api/api.h"
#include "fuzz.h"

#define LINES 5

static const char *const names[LINES] = { "REQUEST_METHOD", "REQUEST_URI",
                                          "CONTENT_TYPE",
                                          "HTTP_ACCEPT_LANGUAGE",
                                          "HTTP_IDEMPOTENCY_KEY" };


/* FastCGI parameters have no NUL, as C strings; nginx lets none through. */
static char **
environment(TALLOC_CTX *ctx, const char **text, size_t *size)
{
    int i, n;
    char **all;
    size_t len;
    const char *end;

    all = talloc_zero_array(ctx, char *, LINES + 1);

    for (i = 0, n = 0; i<LINES && * size> 0; i++) {
        end = memchr(*text, '\n', *size);
        len = end != NULL ? (size_t) (end - *text) : *size;
        all[n++] = talloc_asprintf(all, "%s=%.*s", names[i], (int) len, *text);
        len += end != NULL;
        *text += len;
        *size -= len;
    }

    return all;
}


static void
arguments(cx_request_t *r)
{
    int limit;
    size_t len;
    const char *cursor, *value;

    value = cx_argument(r, "k");
    HOLDS(value == NULL || strlen(value) <= strlen(r->query));

    if (cx_page(r, 100, 0, &limit, &cursor)) {
        HOLDS(limit >= 1 && limit <= 100);
    }

    value = cx_percent_decode(r, r->query, strlen(r->query));
    HOLDS(value == NULL || strlen(value) <= strlen(r->query));

    (void) cx_header(r, "Idempotency-Key");
    len = strlen(cx_language(r));
    HOLDS(len == 2);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int i;
    char *copy;
    const char *text;
    cx_api_t api;
    cx_request_t *r;
    TALLOC_CTX *ctx;
    cx_settings_t settings;

    memset(&api, 0, sizeof(api));
    memset(&settings, 0, sizeof(settings));
    HOLDS(cx_id_key_parse(&settings.id_key, FUZZ_ID_KEY, 64) == 0);
    api.settings = &settings;
    api.pool = "fast";

    ctx = talloc_new(NULL);
    copy = fuzz_copy(data, size);
    text = copy;

    r = cx_request_make(&api, environment(ctx, &text, &size));
    HOLDS(r != NULL && strchr(r->path, '?') == NULL);

    cx_route(r);
    HOLDS((r->route != NULL) == (r->status == 0));

    for (i = 0; i < CX_PARAMS_MAX && r->route != NULL; i++) {
        HOLDS(r->params[i] == NULL || strchr(r->params[i], '/') == NULL);
    }

    arguments(r);

    if (r->route != NULL) {
        r->body = text;
        r->body_len = size;
        (void) cx_read_body(r);
        HOLDS(r->status == 0 || (r->status >= 400 && r->status < 500));
    }

    talloc_free(r);
    talloc_free(ctx);
    free(copy);

    return 0;
}
