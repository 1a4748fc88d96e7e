/*
 * The hot paths where nginx could not answer by itself: /c, /t and /q (A4 -
 * A6, F1).  What can be answered in both places is answered alike; see
 * docs/fetch.md.
 */

#include "api.h"

#include <ctype.h>
#include <string.h>

#include "card_body.h"
#include "cx_accept.h"
#include "cx_jscontact.h"
#include "cx_line.h"
#include "cx_vcard.h"
#include "fetch.sql.h"
#include "media_serve.h"
#include "page_write.h"
#include "thumbnail.h"

#define VCF ".vcf"
#define FILE_NAME_MAX 120 /* bytes */

typedef struct {
    char *card_id;
    bool vcf;
    const char *kind; /* of a medium, or NULL */

    char key[CX_KEY_LEN + 1]; /* upper case */
    unsigned char hash[CX_SECRET_LEN];

    const char *revision;
    const char *view;
    char **fields;
    cx_json_t *card;  /* whole */
    cx_json_t *media; /* what the fields let show */
    const char *thumbnail_id;
} fetch_t;


static cx_form_t
wanted_form(const cx_request_t *r)
{
    const char *header;
    cx_accept_t accept;

    header = cx_header(r, "Accept");
    cx_accept_init(&accept);

    if (header != NULL) {
        cx_accept_add(&accept, header, strlen(header));
    }

    return cx_accept_choose(&accept);
}


/* One and the same for everything that a key does not open: as the edge says
 * it, or for a browser as a page. */
static void
refuse(cx_request_t *r)
{
    char *page;
    size_t len;
    const char *language;

    if (wanted_form(r) != CX_FORM_HTML) {
        cx_answer(r, 404, "application/problem+json", CX_KEY_REFUSED_BODY,
                  strlen(CX_KEY_REFUSED_BODY));
        return;
    }

    language = cx_language(r);
    page = cx_page_refused(r, language, &len);
    cx_answer_header(r, "Content-Security-Policy", "%s", CX_PAGE_POLICY);
    cx_answer_header(r, "Content-Language", "%s",
                     cx_page_language_tag(language));
    cx_answer_header(r, "Referrer-Policy", "no-referrer");
    cx_answer_header(r, "Cache-Control", "no-store");
    cx_answer_header(r, "Vary", "Accept, Accept-Language");
    cx_answer(r, 404, "text/html; charset=utf-8", page, len);
}


/* {card_id}, {card_id}.vcf or {card_id}/{kind}, with a key in the header or
 * in the address. */
static bool
read_request(cx_request_t *r, fetch_t *f)
{
    size_t i, len;
    const char *key;

    memset(f, 0, sizeof(*f));

    len = strlen(r->params[0]);

    if (len == CX_ID_LEN + strlen(VCF) && r->params[1] == NULL
        && strcmp(r->params[0] + CX_ID_LEN, VCF) == 0) {
        f->vcf = true;
        len = CX_ID_LEN;
    }

    for (i = 0; r->params[1] != NULL && i < CX_MEDIA_KINDS; i++) {
        if (strcmp(r->params[1], cx_media_kinds[i]) == 0) {
            f->kind = cx_media_kinds[i];
        }
    }

    if (r->params[1] != NULL && f->kind == NULL) {
        return false;
    }

    if (cx_id_check(&r->api->settings->id_key, CX_ID_CARD, r->params[0], len)
        != 0) {
        return false;
    }

    f->card_id = talloc_strndup(r, r->params[0], len);
    key = cx_header(r, "Cardx-Key");
    key = key != NULL ? key : cx_argument(r, "k");

    if (key == NULL || cx_card_key_hash(key, strlen(key), f->hash) != 0) {
        return false;
    }

    for (i = 0; i < CX_KEY_LEN; i++) {
        f->key[i] = (char) toupper((unsigned char) key[i]);
    }

    return true;
}


static cx_json_t *
read_json(cx_request_t *r, const PGresult *row, int column)
{
    const char *text, *why;

    text = cx_pg_text(row, 0, column);

    return text != NULL ? cx_json_read(r, text, strlen(text), &why) : NULL;
}


/* What the row says, with the media that the fields hide taken out. */
static bool
read_row(cx_request_t *r, fetch_t *f, const PGresult *row)
{
    size_t i;

    f->revision = cx_pg_text(row, 0, 1);
    f->view = cx_pg_text(row, 0, 2);
    f->card = read_json(r, row, 4);
    f->media = read_json(r, row, 5);
    f->thumbnail_id = cx_pg_text(row, 0, 6);

    if (f->card == NULL || f->media == NULL
        || cx_fields_read(r, read_json(r, row, 3), &f->fields) != NULL) {
        cx_alert("card %s can't be read", f->card_id);
        return false;
    }

    for (i = 0; i < CX_MEDIA_KINDS; i++) {
        if (!cx_fields_show(f->fields, cx_media_kinds[i])) {
            cx_json_remove(f->media, cx_media_kinds[i]);
        }
    }

    return true;
}


/* A5: the key is the stored one, and the time of the request is within the
 * threshold of the time it was drawn.  False: answered.  What is known now
 * goes into the projection, so that the edge can answer the next one; for a
 * page or a vCard it can't anyway. */
static bool
verify(cx_request_t *r, fetch_t *f, cx_form_t form)
{
    bool granted;
    cx_pg_rc_t rc;
    PGresult *row;
    cx_projector_t *p = &r->api->projector;

    if (!read_request(r, f)) {
        refuse(r);
        return false;
    }

    (void) cx_projector_epoch(p);

    rc = cx_pg_query(r->api->pg, r, &row, &SQL_CARD_FETCH, f->card_id,
                     cx_pg_bytea(r, f->hash, sizeof(f->hash)));

    if (rc != CX_PG_OK) {
        cx_problem_pg(r, rc);
        return false;
    }

    if (PQntuples(row) == 0) {
        cx_project_unknown_key(p, f->card_id, f->hash);
        refuse(r);
        return false;
    }

    granted = cx_pg_true(row, 0, 0);

    if (!granted) {
        /* an expired key is in no projection any more; nothing else is done,
         * so that it takes no longer than a key that never was */
        cx_project_unknown_key(p, f->card_id, f->hash);
        refuse(r);
        return false;
    }

    if (f->kind != NULL || (form == CX_FORM_JSON && !f->vcf)) {
        (void) cx_project_card(p, f->card_id, false);
    }

    if (!read_row(r, f, row)) {
        cx_try_again(r);
        return false;
    }

    return true;
}


static void
private_headers(cx_request_t *r, const char *vary)
{
    if (vary != NULL) {
        cx_answer_header(r, "Vary", "%s", vary);
    }

    cx_answer_header(r, "Cache-Control", "private, no-cache");
    cx_answer_header(r, "Referrer-Policy", "no-referrer");
}


static void
send_json(cx_request_t *r, fetch_t *f)
{
    char *etag, *text;
    size_t len;

    etag = cx_card_etag(r, f->revision, f->view, "j");
    private_headers(r, "Accept");

    if (cx_not_modified(r, etag)) {
        return;
    }

    text = cx_json_write(r,
                         cx_card_body(r, r->api->settings, f->card_id, f->card,
                                      f->media, f->fields),
                         &len);
    cx_answer_etag(r, etag);
    cx_answer(r, 200, "application/jscontact+json", text, len);
}


static void
send_page(cx_request_t *r, fetch_t *f)
{
    char *etag, *text;
    size_t len;
    cx_page_t page;
    const char *language;

    language = cx_language(r);
    etag = cx_card_etag(r, f->revision, f->view,
                        talloc_asprintf(r, "h%s%s", language, CX_PAGE_VERSION));

    private_headers(r, "Accept, Accept-Language");
    cx_answer_header(r, "Content-Security-Policy", "%s", CX_PAGE_POLICY);

    if (cx_not_modified(r, etag)) {
        return;
    }

    page.public_url = r->api->settings->public_url;
    page.card_id = f->card_id;
    page.key = f->key;
    page.thumbnail_id = f->thumbnail_id;
    page.language = language;
    page.card = cx_jscontact_view(r, f->card, f->fields);
    page.media = f->media;
    text = cx_page_write(r, &page, &len);

    cx_answer_etag(r, etag);
    cx_answer_header(r, "Content-Language", "%s",
                     cx_page_language_tag(language));
    cx_answer(r, 200, "text/html; charset=utf-8", text, len);
}


/* The card's name, without what file systems have no love for, and without
 * what would show its end elsewhere. */
static char *
file_name(TALLOC_CTX *ctx, const cx_json_t *card)
{
    size_t step, len;
    char *name, *p, *out;

    name = cx_jscontact_full_name(ctx, card);

    for (p = name; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f
            || strchr("\"*/:<>?\\|%", *p) != NULL) {
            *p = ' ';
        }
    }

    for (p = out = name; *p != '\0'; p += step) {
        step = cx_utf8_length(p, strlen(p));
        len = (size_t) (out - name);

        if (step == 0 || len + step > FILE_NAME_MAX) {
            break;
        }

        if (!cx_char_hidden(cx_utf8_read(p, step))) {
            memmove(out, p, step);
            out += step;
        }
    }

    *out = '\0';
    name += strspn(name, " .");

    return *name != '\0' ? name : "card";
}


/* To be saved (RFC 6266): under a plain name for clients that know no other,
 * and under its own. */
static void
attach(cx_request_t *r, const cx_json_t *card)
{
    const char *p, *name;

    name = file_name(r, card);

    for (p = name; *p != '\0' && (unsigned char) *p < 0x80; p++) {
        /* void */
    }

    cx_answer_header(r, "Content-Disposition",
                     "attachment; filename=\"%s.vcf\"; "
                     "filename*=UTF-8''%s.vcf",
                     *p == '\0' ? name : "card",
                     cx_page_encode(r, name, "-._~"));
}


/* The media of a vCard: the photo itself, small enough; of the others the
 * address, without the key, since a vCard is kept and passed on.  False:
 * answered. */
static bool
vcard_media(cx_request_t *r, fetch_t *f, cx_vcard_media_t *media, size_t *n)
{
    size_t i, len;
    cx_pg_rc_t rc;
    PGresult *row;
    const cx_json_t *medium;

    *n = 0;

    for (i = 0; i < CX_MEDIA_KINDS; i++) {
        medium = cx_json_get(f->media, cx_media_kinds[i]);

        if (medium == NULL) {
            continue;
        }

        memset(&media[*n], 0, sizeof(media[*n]));
        media[*n].kind = cx_media_kinds[i];
        media[*n].type = cx_json_text(medium, "type");
        media[*n].address =
            talloc_asprintf(r, "%s/c/%s/%s", r->api->settings->public_url,
                            f->card_id, cx_media_kinds[i]);

        if (strcmp(cx_media_kinds[i], "photo") == 0) {
            rc = cx_pg_query(r->api->pg, r, &row, &SQL_MEDIUM_VCARD,
                             cx_json_text(medium, "media_id"));

            if (rc != CX_PG_OK) {
                cx_problem_pg(r, rc);
                return false;
            }

            if (cx_pg_text(row, 0, 0) != NULL) {
                media[*n].bytes = cx_pg_bytes(r, row, 0, 0, &len);
                media[*n].len = len;
                media[*n].type = "image/jpeg";
                media[*n].address = NULL;
            }
        }

        (*n)++;
    }

    return true;
}


static void
send_vcard(cx_request_t *r, fetch_t *f)
{
    bool four;
    char *etag, *text;
    size_t n, len;
    cx_json_t *card;
    const char *version, *accept;
    cx_vcard_media_t media[CX_MEDIA_KINDS];

    version = cx_argument(r, "version");
    accept = cx_header(r, "Accept");
    four = (version != NULL && strcmp(version, "4.0") == 0)
           || (accept != NULL
               && cx_accept_parameter(accept, strlen(accept), "text/vcard",
                                      "version", "4.0"));

    etag = cx_card_etag(r, f->revision, f->view, four ? "4" : "3");
    private_headers(r, "Accept");

    if (cx_not_modified(r, etag) || !vcard_media(r, f, media, &n)) {
        return;
    }

    card = cx_jscontact_view(r, f->card, f->fields);
    text =
        cx_vcard_write(r, card, four ? CX_VCARD_4 : CX_VCARD_3, media, n, &len);

    if (f->vcf) {
        attach(r, card);
    }

    cx_answer_etag(r, etag);
    cx_answer(r, 200,
              four ? "text/vcard; charset=utf-8; version=4.0"
                   : "text/vcard; charset=utf-8",
              text, len);
}


static void
fetch_card(cx_request_t *r)
{
    fetch_t f;
    cx_form_t form;

    form = wanted_form(r);

    if (!verify(r, &f, form)) {
        return;
    }

    if (f.vcf || form == CX_FORM_VCARD) {
        send_vcard(r, &f);

    } else if (form == CX_FORM_HTML) {
        send_page(r, &f);

    } else {
        send_json(r, &f);
    }
}


static void
fetch_medium(cx_request_t *r)
{
    fetch_t f;
    int64_t bytes;
    const char *id, *type;
    const cx_json_t *medium;

    if (!verify(r, &f, CX_FORM_JSON)) {
        return;
    }

    medium = f.kind != NULL ? cx_json_get(f.media, f.kind) : NULL;
    id = cx_json_text(medium, "media_id");
    type = cx_json_text(medium, "type");

    if (id == NULL || type == NULL
        || !cx_json_to_integer(cx_json_get(medium, "bytes"), &bytes)) {
        refuse(r);
        return;
    }

    private_headers(r, NULL);
    cx_serve_media(r, id, type, bytes);
}


/* What nginx asks for, once it has verified the key, to keep it in its cache;
 * nobody else can set these parameters. */
static void
fetch_verified_medium(cx_request_t *r)
{
    PGresult *row;
    const char *id;

    id = cx_parameter(r, "CARDX_MEDIA_ID");

    if (id == NULL) {
        cx_problem(r, 404, "not_found", "There is nothing at this address.");
        return;
    }

    if (!cx_query(r, &row, &SQL_MEDIUM_FETCH, id)) {
        return;
    }

    if (PQntuples(row) == 0) {
        refuse(r);
        return;
    }

    private_headers(r, NULL);
    cx_serve_media(r, id, cx_pg_text(row, 0, 0), cx_pg_integer(row, 0, 1));
}


static void
send_thumbnail(cx_request_t *r, const char *id, const unsigned char *webp,
               size_t len)
{
    char *etag;

    etag = talloc_asprintf(r, "\"%s\"", id);
    cx_answer_header(r, "Cache-Control", "public, max-age=31536000, immutable");

    if (!cx_not_modified(r, etag)) {
        cx_answer_etag(r, etag);
        cx_answer(r, 200, "image/webp", webp, len);
    }
}


static void
fetch_thumbnail(cx_request_t *r)
{
    size_t len;
    const char *id;
    PGresult *row;
    unsigned char *webp;
    cx_projector_t *p = &r->api->projector;

    id = r->params[0];

    if (cx_id_check(&r->api->settings->id_key, CX_ID_THUMBNAIL, id, strlen(id))
        != 0) {
        refuse(r);
        return;
    }

    (void) cx_projector_epoch(p);

    if (!cx_query(r, &row, &SQL_THUMBNAIL_FETCH, id)) {
        return;
    }

    if (PQntuples(row) == 0) {
        refuse(r);
        return;
    }

    if (cx_pg_text(row, 0, 0) != NULL) {
        webp = cx_pg_bytes(r, row, 0, 0, &len);
        cx_project_thumbnail(p, id, webp, len);

    } else if (!cx_thumbnail_draw(p, r, id, &webp, &len)) {
        cx_problem_away(r, 2, "The thumbnail can't be drawn now; try again.");
        return;
    }

    if (len == 0) {
        refuse(r);
        return;
    }

    send_thumbnail(r, id, webp, len);
}


/* A scan is counted where it leads somewhere, by GET; looking with HEAD is
 * none. */
static void
fetch_redirect(cx_request_t *r)
{
    size_t i;
    char key[CX_KEY_LEN + 1];
    PGresult *row;
    const char *card_id;
    unsigned char hash[CX_SECRET_LEN];
    cx_projector_t *p = &r->api->projector;

    if (cx_card_key_hash(r->params[0], strlen(r->params[0]), hash) != 0) {
        refuse(r);
        return;
    }

    (void) cx_projector_epoch(p);

    if (!cx_query(r, &row, &SQL_REDIRECT_FETCH,
                  cx_pg_bytea(r, hash, sizeof(hash)),
                  strcmp(r->method, "GET") == 0 ? "true" : "false")) {
        return;
    }

    if (PQntuples(row) == 0 || !cx_pg_true(row, 0, 0)) {
        refuse(r);
        return;
    }

    card_id = cx_pg_text(row, 0, 1);
    cx_project_key(p, card_id, hash, cx_pg_integer(row, 0, 2),
                   cx_pg_text(row, 0, 3));

    for (i = 0; i <= CX_KEY_LEN; i++) {
        key[i] = (char) toupper((unsigned char) r->params[0][i]);
    }

    cx_answer_header(r, "Location", "/c/%s?k=%s", card_id, key);
    cx_answer_header(r, "Cache-Control", "no-store");
    cx_answer_header(r, "Referrer-Policy", "no-referrer");
    cx_answer_empty(r, 302);
}


bool
cx_fetch_address(const cx_request_t *r)
{
    return (strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0)
           && r->path[0] == '/' && r->path[1] != '\0'
           && strchr("ctqQ", r->path[1]) != NULL && r->path[2] == '/';
}


const cx_route_t cx_route_refused = { "GET", "/", refuse, CX_ANONYMOUS, 0 };

const cx_route_t cx_routes_fetch[] = {
    { "GET", "/", fetch_verified_medium, CX_ANONYMOUS, 0 },
    { "GET", "/c/{*}", fetch_card, CX_ANONYMOUS, 0 },
    { "GET", "/c/{*}/{*}", fetch_medium, CX_ANONYMOUS, 0 },
    { "GET", "/t/{*}", fetch_thumbnail, CX_ANONYMOUS, 0 },
    { "GET", "/q/{*}", fetch_redirect, CX_ANONYMOUS, 0 },
    { "GET", "/Q/{*}", fetch_redirect, CX_ANONYMOUS, 0 },
    { NULL, NULL, NULL, 0, 0 }
};
