#include "media_serve.h"

#include <inttypes.h>
#include <string.h>

#include "cx_range.h"
#include "media_serve.sql.h"

#define CHUNKS_AT_ONCE 4 /* so much of a medium is in memory twice */

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


/* Of HEAD no range is defined (14.2). */
static cx_range_t
asked_range(cx_request_t *r, const char *etag, cx_media_part_t *part)
{
    const char *range, *if_range;

    part->first = 0;
    part->last = part->bytes - 1;

    range = cx_header(r, "Range");
    if_range = cx_header(r, "If-Range");

    if (range == NULL || strcmp(r->method, "GET") != 0
        || (if_range != NULL && strcmp(if_range, etag) != 0)) {
        return CX_RANGE_NONE;
    }

    return cx_range_read(range, strlen(range), part->bytes, &part->first,
                         &part->last);
}


bool
cx_media_begin(cx_request_t *r, const char *media_id, uint64_t bytes,
               cx_media_part_t *part)
{
    cx_range_t range;

    part->etag = talloc_asprintf(r, "\"%s\"", media_id);
    part->bytes = bytes;

    if (cx_not_modified(r, part->etag)) {
        return false;
    }

    range = asked_range(r, part->etag, part);
    part->whole = range != CX_RANGE_ONE;

    if (range == CX_RANGE_BAD) {
        cx_answer_header(r, "Content-Range", "bytes */%" PRIu64, bytes);
        cx_problem(r, 416, "invalid_range", "There are %" PRIu64 " bytes.",
                   bytes);
        return false;
    }

    return true;
}


void
cx_media_send(cx_request_t *r, const cx_media_part_t *part, const char *type,
              const void *data)
{
    if (!part->whole) {
        cx_answer_header(r, "Content-Range",
                         "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, part->first,
                         part->last, part->bytes);
    }

    cx_answer_etag(r, part->etag);
    cx_answer_header(r, "Accept-Ranges", "bytes");
    cx_answer_header(r, "Content-Disposition", "inline");
    cx_answer(r, part->whole ? 200 : 206, type, data,
              (size_t) (part->last - part->first + 1));
}


void
cx_serve_media(cx_request_t *r, const char *media_id, const char *type,
               long long bytes)
{
    char *data;
    cx_media_part_t part;

    if (!cx_media_begin(r, media_id, (uint64_t) bytes, &part)) {
        return;
    }

    data = "";

    if (strcmp(r->method, "HEAD") != 0) {
        data = read_bytes(r, media_id, (long long) part.first,
                          (long long) part.last);

        if (data == NULL) {
            return;
        }
    }

    cx_media_send(r, &part, type, data);
}
