/* The address book as files: F8, E6.  What is exported can be imported again,
 * here or elsewhere. */

#include "contact_book.h"

#include <string.h>
#include <openssl/evp.h>

#include "contact_export.sql.h"
#include "contact_media.h"
#include "contact_transfer.h"
#include "cx_buf.h"
#include "cx_vcard.h"

#define PAGE 500
#define BYTES_MAX 33554432 /* of an answer; the rest is the next one's */

typedef struct {
    cx_book_t *book;
    bool json;
    cx_vcard_version_t version;
    cx_buf_t out;
} export_t;


static bool
read_form(cx_request_t *r, export_t *e)
{
    const char *format, *version, *accept;

    format = cx_argument(r, "format");
    version = cx_argument(r, "version");
    accept = cx_header(r, "Accept");

    if (format != NULL && strcmp(format, "json") != 0
        && strcmp(format, "vcard") != 0) {
        cx_problem(r, 422, "invalid_format", "`format` is vcard or json.");
        return false;
    }

    if (version != NULL && strcmp(version, "3.0") != 0
        && strcmp(version, "4.0") != 0) {
        cx_problem(r, 422, "invalid_version", "`version` is 3.0 or 4.0.");
        return false;
    }

    e->json = format != NULL
                  ? strcmp(format, "json") == 0
                  : accept != NULL && strstr(accept, "application/json") != NULL
                        && strstr(accept, "text/vcard") == NULL;
    e->version = version != NULL && strcmp(version, "3.0") == 0 ? CX_VCARD_3
                                                                : CX_VCARD_4;

    return true;
}


/* The photo of a live card is as small as a vCard takes it.  False:
 * answered. */
static bool
live_photo(export_t *e, TALLOC_CTX *ctx, const cx_contact_t *c,
           cx_vcard_media_t *medium)
{
    size_t len;
    PGresult *rows;
    const char *id;

    id = cx_json_text(cx_json_get(c->live_media, medium->kind), "media_id");

    if (id == NULL) {
        return true;
    }

    if (!cx_query(e->book->r, &rows, &SQL_CONTACT_PHOTO, id)) {
        return false;
    }

    if (cx_pg_text(rows, 0, 0) != NULL) {
        medium->bytes = cx_pg_bytes(ctx, rows, 0, 0, &len);
        medium->len = len;
        medium->type = "image/jpeg";
    }

    return true;
}


/* The holder's own media, and the live photo.  False: answered. */
static bool
read_media(export_t *e, TALLOC_CTX *ctx, const cx_contact_t *c,
           cx_vcard_media_t *media, size_t *n)
{
    size_t i, len;
    const char *id, *type;
    const unsigned char *bytes;
    static const char *const kinds[] = { "photo", "logo", "sound" };

    *n = 0;

    for (i = 0; i < 3; i++) {
        memset(&media[*n], 0, sizeof(media[*n]));
        media[*n].kind = kinds[i];

        if (cx_json_get(c->media, kinds[i]) != NULL) {
            bytes = cx_contact_medium_read(e->book, ctx, c->contact_id,
                                           kinds[i], &type, &id, &len);

            if (bytes == NULL) {
                return false;
            }

            media[*n].bytes = bytes;
            media[*n].len = len;
            media[*n].type = type;

        } else if (i < 2 && !e->json && !live_photo(e, ctx, c, &media[*n])) {
            return false;
        }

        *n += media[*n].len > 0;
    }

    return true;
}


/* Embedded as the reader of vCards leaves them. */
static void
embed(cx_json_t *own, const cx_vcard_media_t *medium)
{
    char *text, *uri;
    cx_json_t *all, *entry;

    all = cx_json_get(own, "media");

    if (all == NULL) {
        all = cx_json_put(own, "media", cx_json_object(own));
    }

    text = cx_must(talloc_array(own, char, (medium->len + 2) / 3 * 4 + 1));
    EVP_EncodeBlock((unsigned char *) text, medium->bytes, (int) medium->len);
    uri =
        cx_must(talloc_asprintf(own, "data:%s;base64,%s", medium->type, text));
    entry = cx_json_put(all,
                        cx_must(talloc_asprintf(own, "cardx-%s", medium->kind)),
                        cx_json_object(all));
    cx_json_put(entry, "@type", cx_json_string(entry, "Media"));
    cx_json_put(entry, "kind", cx_json_string(entry, medium->kind));
    cx_json_put(entry, "uri", cx_json_string(entry, uri));
    cx_json_put(entry, "mediaType", cx_json_string(entry, medium->type));
    talloc_free(text);
    talloc_free(uri);
}


/* False: answered. */
static bool
write_contact(export_t *e, TALLOC_CTX *ctx, const cx_contact_t *c)
{
    char *text;
    size_t i, n, len;
    cx_json_t *json;
    cx_vcard_media_t media[3];

    if (!read_media(e, ctx, c, media, &n)) {
        return false;
    }

    if (e->json) {
        json = cx_book_envelope(ctx, c);

        for (i = 0; i < n; i++) {
            embed(cx_json_get(json, "own"), &media[i]);
        }

        text = cx_json_write(ctx, json, &len);
        cx_buf_puts(&e->out, e->out.len > 1 ? ",\n" : "\n");

    } else {
        text = cx_vcard_write(ctx, cx_transfer_card(ctx, c), e->version, media,
                              n, &len);
    }

    cx_buf_add(&e->out, text, len);

    return true;
}


static void
answer(export_t *e, const char *next)
{
    cx_request_t *r = e->book->r;

    if (e->json) {
        cx_buf_puts(&e->out, "\n]\n");
    }

    if (next != NULL) {
        cx_answer_header(r, "Link",
                         "</v1/contacts/export?format=%s&version=%d.0&"
                         "cursor=%s>; rel=\"next\"",
                         e->json ? "json" : "vcard", (int) e->version, next);
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_answer_header(r, "Content-Disposition",
                     "attachment; filename=\"contacts.%s\"",
                     e->json ? "json" : "vcf");
    cx_answer(r, 200,
              e->json                    ? "application/json"
              : e->version == CX_VCARD_4 ? "text/vcard; charset=utf-8; "
                                           "version=4.0"
                                         : "text/vcard; charset=utf-8",
              cx_buf_text(&e->out), e->out.len);
}


static void
get_export(cx_request_t *r)
{
    int i, n, limit;
    export_t e;
    cx_contact_t c;
    PGresult *rows;
    const char *cursor;
    TALLOC_CTX *ctx, *one;

    memset(&e, 0, sizeof(e));

    if (!cx_page(r, PAGE, CX_ID_CONTACT, &limit, &cursor) || !read_form(r, &e)
        || (e.book = cx_book_open(r)) == NULL) {
        return;
    }

    cx_buf_init(&e.out, r);
    cx_buf_puts(&e.out, e.json ? "[" : "");

    do {
        ctx = talloc_new(r);

        if (!cx_book_page(e.book, ctx, cursor, false, PAGE, &rows)) {
            return;
        }

        n = PQntuples(rows);

        for (i = 0; i < n; i++) {
            one = talloc_new(ctx);

            if (!cx_book_row(e.book, one, rows, i, &c)
                || !write_contact(&e, one, &c)) {
                return;
            }

            cursor = talloc_strdup(r, c.contact_id);
            talloc_free(one);

            if (e.out.len > BYTES_MAX) {
                answer(&e, cursor);
                return;
            }
        }

        talloc_free(ctx);
    } while (n == PAGE);

    answer(&e, NULL);
}


const cx_route_t cx_routes_contact_export[] = { { "GET", "/v1/contacts/export",
                                                  get_export, 0, 0 },
                                                { NULL, NULL, NULL, 0, 0 } };
