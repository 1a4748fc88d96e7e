#include "media_serve.h"

#include <stdlib.h>
#include <string.h>

#include "media_serve.sql.h"

#define CHUNKS_AT_ONCE 4 /* so much of a medium is in memory twice */

typedef enum {
    RANGE_NONE,
    RANGE_ONE,
    RANGE_BAD
} range_t;


/* Decimal digits up to `end`; -1: none, or something else among them. */
static long long
number(const char *text, const char *end)
{
    long long n;

    if (text == end || end - text > 18) {
        return -1;
    }

    for (n = 0; text < end; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }

        n = 10 * n + (*text - '0');
    }

    return n;
}


/* One range of bytes (RFC 9110, 14.1.2).  Several at once, or what is no
 * range at all, may be ignored, and the whole be sent. */
static range_t
read_range(const char *header, long long size, long long *first,
           long long *last)
{
    const char *dash, *end;
    long long from, to;

    if (header == NULL || strncmp(header, "bytes=", 6) != 0) {
        return RANGE_NONE;
    }

    header += 6;
    dash = strchr(header, '-');
    end = header + strlen(header);

    if (dash == NULL || strchr(header, ',') != NULL) {
        return RANGE_NONE;
    }

    from = number(header, dash);
    to = number(dash + 1, end);

    if (dash == header) {
        if (to < 0) {
            return RANGE_NONE;
        }

        *first = to < size ? size - to : 0;
        *last = size - 1;

        return to > 0 ? RANGE_ONE : RANGE_BAD;
    }

    if (from < 0 || (dash + 1 != end && (to < 0 || to < from))) {
        return RANGE_NONE;
    }

    *first = from;
    *last = dash + 1 != end && to < size ? to : size - 1;

    return from < size ? RANGE_ONE : RANGE_BAD;
}


/* Copies what lies between first and last; NULL: answered. */
static char *
read_bytes(cx_request_t *r, const char *media_id, long long first,
           long long last)
{
    int i;
    char *out;
    size_t len;
    bool complete;
    long long seq, end, at, from, to;
    cx_pg_rc_t rc;
    TALLOC_CTX *ctx;
    PGresult *result;
    unsigned char *data;

    out = talloc_array(r, char, (size_t) (last - first + 1));
    complete = true;
    rc = CX_PG_OK;

    for (seq = first / CX_CHUNK; complete && seq <= last / CX_CHUNK;
         seq += CHUNKS_AT_ONCE) {
        end = seq + CHUNKS_AT_ONCE - 1;
        end = end < last / CX_CHUNK ? end : last / CX_CHUNK;

        ctx = talloc_new(r);
        rc = cx_pg_query(r->api->pg, ctx, &result, &SQL_MEDIA_CHUNKS, media_id,
                         talloc_asprintf(ctx, "%lld", seq),
                         talloc_asprintf(ctx, "%lld", end));
        complete = rc == CX_PG_OK && PQntuples(result) == end - seq + 1;

        for (i = 0; complete && i < PQntuples(result); i++) {
            data = cx_pg_bytes(ctx, result, i, 0, &len);
            at = (seq + i) * CX_CHUNK;
            from = at > first ? at : first;
            to = at + CX_CHUNK - 1 < last ? at + CX_CHUNK - 1 : last;
            complete = data != NULL && at + (long long) len > to;

            if (complete) {
                memcpy(out + (from - first), data + (from - at),
                       (size_t) (to - from + 1));
            }
        }

        talloc_free(ctx);
    }

    if (complete) {
        return out;
    }

    /* deleted since the caller looked */
    if (rc == CX_PG_OK) {
        cx_problem(r, 404, "not_found", "This medium is gone.");

    } else {
        cx_problem_pg(r, rc);
    }

    return NULL;
}


void
cx_serve_media(cx_request_t *r, const char *media_id, const char *type,
               long long bytes)
{
    char *etag, *data;
    range_t range;
    long long first, last;
    const char *if_range;

    etag = talloc_asprintf(r, "\"%s\"", media_id);

    if (cx_not_modified(r, etag)) {
        return;
    }

    first = 0;
    last = bytes - 1;
    range = read_range(cx_header(r, "Range"), bytes, &first, &last);
    if_range = cx_header(r, "If-Range");

    if (if_range != NULL && strcmp(if_range, etag) != 0) {
        range = RANGE_NONE;
    }

    if (range == RANGE_BAD) {
        cx_answer_header(r, "Content-Range", "bytes */%lld", bytes);
        cx_problem(r, 416, "invalid_range", "There are %lld bytes.", bytes);
        return;
    }

    if (range == RANGE_NONE) {
        first = 0;
        last = bytes - 1;
    }

    data = "";

    if (strcmp(r->method, "HEAD") != 0) {
        data = read_bytes(r, media_id, first, last);

        if (data == NULL) {
            return;
        }
    }

    if (range == RANGE_ONE) {
        cx_answer_header(r, "Content-Range", "bytes %lld-%lld/%lld", first,
                         last, bytes);
    }

    cx_answer_etag(r, etag);
    cx_answer_header(r, "Accept-Ranges", "bytes");
    cx_answer_header(r, "Content-Disposition", "inline");
    cx_answer(r, range == RANGE_ONE ? 206 : 200, type, data,
              (size_t) (last - first + 1));
}
