#include "check_kinds.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/sha.h>

#include "card_fields.h"
#include "check_kinds.sql.h"
#include "cx_buf.h"
#include "cx_projection.h"

#define HASH_NAME_BYTES (CX_HASH_NAME / 2)


static cx_check_rc_t
wrong(cx_look_t *look, const char *why)
{
    look->why = why;

    return CX_CHECK_WRONG;
}


static cx_check_rc_t
missing(cx_look_t *look, const char *why)
{
    look->why = why;

    return CX_CHECK_MISSING;
}


/* The worse of two; what is wrong goes before what is missing. */
static bool
is_worse(cx_check_rc_t rc, cx_check_rc_t than)
{
    return rc > than;
}


/* The value of a name; *value is NULL when there is none. */
static bool
read_value(cx_look_t *look, TALLOC_CTX *ctx, const char *name,
           const redisReply **value)
{
    const redisReply *reply;

    reply = cx_redis_words(look->p->redis, ctx, "GET", name, NULL);

    if (reply == NULL
        || (reply->type != REDIS_REPLY_STRING
            && reply->type != REDIS_REPLY_NIL)) {
        return false;
    }

    *value = reply->type == REDIS_REPLY_STRING ? reply : NULL;

    return true;
}


/* A hash's name as the bytes that PostgreSQL knows; NULL: it is none. */
static char *
prefix_bytes(TALLOC_CTX *ctx, const char *text)
{
    unsigned char bytes[HASH_NAME_BYTES];

    if (strlen(text) != CX_HASH_NAME
        || cx_hex_read(text, sizeof(bytes), bytes) != 0) {
        return NULL;
    }

    return cx_pg_bytea(ctx, bytes, sizeof(bytes));
}


/* --- cards --------------------------------------------------------------- */

typedef struct {
    cx_look_t *look;
    TALLOC_CTX *ctx;
    const redisReply *hash;
    const cx_card_fields_t *card;
    int64_t now;
} card_look_t;


static const redisReply *
field_of(const redisReply *hash, const char *field)
{
    size_t i;

    for (i = 0; i + 1 < hash->elements; i += 2) {
        if (strcmp(hash->element[i]->str, field) == 0) {
            return hash->element[i + 1];
        }
    }

    return NULL;
}


static bool
starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}


/* Whether some key in Redis opens this view. */
static bool
is_granted(const card_look_t *c, const char *view, size_t len)
{
    size_t i, n;
    const char *its;
    const redisReply *value;

    for (i = 0; i + 1 < c->hash->elements; i += 2) {
        value = c->hash->element[i + 1];

        if (starts(c->hash->element[i]->str, CX_FIELD_KEY)
            && cx_verdict_read(value->str, value->len, c->now, &its, &n)
                   == CX_VERDICT_GRANTED
            && n == len && memcmp(its, view, n) == 0) {
            return true;
        }
    }

    return false;
}


static const cx_card_key_t *
key_of(const cx_card_fields_t *card, const char *field)
{
    size_t i;

    for (i = 0; i < card->n_keys; i++) {
        if (strcmp(card->keys[i].field, field) == 0) {
            return &card->keys[i];
        }
    }

    return NULL;
}


/* A body or a medium that Redis has. */
static cx_check_rc_t
look_shown(card_look_t *c, const char *field, const redisReply *value)
{
    size_t i;
    const char *view = field + strlen(CX_FIELD_BODY);

    for (i = 0; i < c->card->n_shown; i++) {
        if (strcmp(c->card->shown[i].field, field) != 0) {
            continue;
        }

        if (c->card->shown[i].len == value->len
            && memcmp(c->card->shown[i].value, value->str, value->len) == 0) {
            return CX_CHECK_SAME;
        }

        return wrong(c->look, talloc_asprintf(c->ctx, "%s differs", field));
    }

    /* of a key that has expired since: nobody gets it */
    if (!is_granted(c, view, strcspn(view, ":"))) {
        return CX_CHECK_SAME;
    }

    return wrong(c->look, talloc_asprintf(c->ctx, "%s must not be", field));
}


/* A verdict that Redis has. */
static cx_check_rc_t
look_verdict(card_look_t *c, const char *field, const redisReply *value)
{
    size_t n;
    const char *view;
    cx_verdict_t verdict;
    const cx_card_key_t *key;

    key = key_of(c->card, field);
    verdict = cx_verdict_read(value->str, value->len, c->now, &view, &n);

    if (key == NULL || key->expires == 0) {
        return verdict != CX_VERDICT_GRANTED
                   ? CX_CHECK_SAME
                   : wrong(c->look,
                           talloc_asprintf(c->ctx, "%s opens, %s", field,
                                           key == NULL ? "and is no key"
                                                       : "and is revoked"));
    }

    if (verdict == CX_VERDICT_MISS) {
        return missing(c->look, talloc_asprintf(c->ctx, "%s", field));
    }

    if (verdict == CX_VERDICT_REFUSED && key->expires > c->now) {
        return wrong(c->look, talloc_asprintf(c->ctx, "%s is refused", field));
    }

    return strcmp(key->verdict, value->str) == 0
               ? CX_CHECK_SAME
               : wrong(c->look, talloc_asprintf(c->ctx, "%s differs", field));
}


/* What Redis has of a card. */
static cx_check_rc_t
look_fields(card_look_t *c)
{
    size_t i;
    const char *field;
    const redisReply *value;
    cx_check_rc_t rc, worst;

    worst = CX_CHECK_SAME;

    for (i = 0; i + 1 < c->hash->elements; i += 2) {
        field = c->hash->element[i]->str;
        value = c->hash->element[i + 1];
        rc = CX_CHECK_SAME;

        if (starts(field, CX_FIELD_BODY) || starts(field, CX_FIELD_MEDIA)) {
            rc = look_shown(c, field, value);

        } else if (starts(field, CX_FIELD_KEY)) {
            rc = look_verdict(c, field, value);
        }

        if (rc == CX_CHECK_WRONG) {
            return rc;
        }

        if (is_worse(rc, worst)) {
            worst = rc;
        }
    }

    return worst;
}


/* What Redis must have of a card that has a key. */
static cx_check_rc_t
look_complete(card_look_t *c)
{
    size_t i, live;
    const redisReply *reply;

    live = 0;

    for (i = 0; i < c->card->n_keys; i++) {
        if (c->card->keys[i].expires <= c->now) {
            continue;
        }

        live++;
        reply = cx_redis_words(c->look->p->redis, c->ctx, "EXISTS",
                               c->card->keys[i].redirect, NULL);

        if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
            return CX_CHECK_AWAY;
        }

        if (reply->integer == 0) {
            return missing(c->look, talloc_asprintf(c->ctx, "%s",
                                                    c->card->keys[i].redirect));
        }

        if (field_of(c->hash, c->card->keys[i].field) == NULL) {
            return missing(
                c->look, talloc_asprintf(c->ctx, "%s", c->card->keys[i].field));
        }
    }

    for (i = 0; live > 0 && i < c->card->n_shown; i++) {
        if (field_of(c->hash, c->card->shown[i].field) == NULL) {
            return missing(c->look, talloc_asprintf(c->ctx, "%s",
                                                    c->card->shown[i].field));
        }
    }

    return CX_CHECK_SAME;
}


/* A card that is deleted, or never was: nothing may open. */
static cx_check_rc_t
look_gone(card_look_t *c)
{
    size_t i, n;
    const char *view;
    const redisReply *revision, *value;

    revision = field_of(c->hash, CX_FIELD_REVISION);

    if (revision != NULL && strcmp(revision->str, CX_GONE) == 0) {
        return CX_CHECK_SAME;
    }

    for (i = 0; i + 1 < c->hash->elements; i += 2) {
        value = c->hash->element[i + 1];

        if (starts(c->hash->element[i]->str, CX_FIELD_KEY)
            && cx_verdict_read(value->str, value->len, c->now, &view, &n)
                   == CX_VERDICT_GRANTED) {
            return wrong(c->look, "opens, and is deleted");
        }
    }

    return revision == NULL ? CX_CHECK_SAME
                            : wrong(c->look, "is there, and is deleted");
}


static cx_check_rc_t
look_there(card_look_t *c, const char *revision)
{
    size_t i;
    cx_check_rc_t rc;
    const redisReply *its, *doubt;

    its = field_of(c->hash, CX_FIELD_REVISION);
    doubt = field_of(c->hash, CX_FIELD_DOUBT);

    if (its != NULL && strcmp(its->str, CX_GONE) == 0) {
        return wrong(c->look, "is denied, and is there");
    }

    if (its != NULL && strcmp(its->str, revision) != 0) {
        return wrong(c->look,
                     talloc_asprintf(c->ctx, "has revision %s, is at %s",
                                     its->str, revision));
    }

    rc = look_fields(c);

    if (rc != CX_CHECK_SAME) {
        return rc;
    }

    if (doubt != NULL && strtoll(doubt->str, NULL, 10) > c->now) {
        return missing(c->look, "in doubt");
    }

    /* of a card that has no key Redis needs to know nothing */
    for (i = 0; its == NULL && i < c->card->n_keys; i++) {
        if (c->card->keys[i].expires > c->now) {
            return missing(c->look, "all of it");
        }
    }

    return look_complete(c);
}


static cx_check_rc_t
look_card(cx_look_t *look, TALLOC_CTX *ctx, const char *name, const char *rest)
{
    PGresult *row;
    cx_card_fields_t card;
    char card_id[CX_ID_LEN + 1];
    card_look_t c = { .look = look, .ctx = ctx, .card = &card };

    if (strlen(rest) != CX_ID_LEN + 1 || rest[CX_ID_LEN] != '}') {
        return wrong(look, "is no card's name");
    }

    memcpy(card_id, rest, CX_ID_LEN);
    card_id[CX_ID_LEN] = '\0';

    c.hash = cx_redis_words(look->p->redis, ctx, "HGETALL", name, NULL);

    if (c.hash == NULL || c.hash->type != REDIS_REPLY_ARRAY
        || cx_pg_query(look->p->pg, ctx, &row, &SQL_CHECK_CARD, card_id)
               != CX_PG_OK) {
        return CX_CHECK_AWAY;
    }

    c.now = (int64_t) time(NULL);

    if (PQntuples(row) == 0 || cx_pg_true(row, 0, 1)) {
        return look_gone(&c);
    }

    if (!cx_card_fields(ctx, look->p->settings, card_id, row, 0, &card)) {
        return CX_CHECK_AWAY;
    }

    return look_there(&c, cx_pg_text(row, 0, 0));
}


/* --- redirects ------------------------------------------------------------ */

static cx_check_rc_t
look_redirect(cx_look_t *look, TALLOC_CTX *ctx, const char *name,
              const char *rest)
{
    char *bytes;
    bool there;
    PGresult *row;
    const char *card_id;
    cx_verdict_t verdict;
    const redisReply *value;

    bytes = prefix_bytes(ctx, rest);

    if (bytes == NULL) {
        return wrong(look, "is no redirect's name");
    }

    if (!read_value(look, ctx, name, &value)
        || cx_pg_query(look->p->pg, ctx, &row, &SQL_CHECK_KEY, bytes)
               != CX_PG_OK) {
        return CX_CHECK_AWAY;
    }

    if (value == NULL) {
        return CX_CHECK_SAME; /* its card tells */
    }

    there = PQntuples(row) > 0;
    verdict = cx_redirect_read(value->str, value->len, (int64_t) time(NULL),
                               &card_id);

    if (verdict == CX_VERDICT_MISS) {
        return wrong(look, "can't be read");
    }

    if (verdict == CX_VERDICT_REFUSED) {
        return there ? wrong(look, "is refused, and is good") : CX_CHECK_SAME;
    }

    if (!there) {
        return wrong(look, "leads on, and is not good");
    }

    return strncmp(card_id, cx_pg_text(row, 0, 0), CX_ID_LEN) == 0
                   && strtoll(value->str, NULL, 10) == cx_pg_integer(row, 0, 1)
               ? CX_CHECK_SAME
               : wrong(look, "differs");
}


/* --- tokens and terminals ------------------------------------------------- */

/* The user in "<user_id>}:<more>"; `more`.  NULL: it is none. */
static const char *
user_of(const char *rest, char user_id[CX_ID_LEN + 1])
{
    if (strlen(rest) < CX_ID_LEN + 3
        || strncmp(rest + CX_ID_LEN, "}:", 2) != 0) {
        return NULL;
    }

    memcpy(user_id, rest, CX_ID_LEN);
    user_id[CX_ID_LEN] = '\0';

    return rest + CX_ID_LEN + 2;
}


/* A token does not say in Redis whose terminal's it is, and has no row when
 * that is signed out: then some terminal of the user must be marked. */
static bool
has_mark(cx_look_t *look, TALLOC_CTX *ctx, const char *user_id)
{
    size_t i;
    char *match, cursor[CX_CURSOR] = "0";
    cx_redis_node_t *node;
    const redisReply *names;

    for (i = 0; i < look->n_signed_out; i++) {
        if (strcmp(look->signed_out[i], user_id) == 0) {
            return true;
        }
    }

    if (!look->again) {
        return false;
    }

    match = cx_must(talloc_asprintf(ctx, CX_TERMINAL_PREFIX "%s}:*", user_id));

    node = cx_redis_node(look->p->redis, match); /* the tag decides */

    if (node == NULL) {
        return false;
    }

    do {
        names = cx_check_scan(look->p, node, ctx, cursor, match);

        if (names != NULL && names->elements > 0) {
            return true;
        }
    } while (names != NULL && strcmp(cursor, "0") != 0);

    return false;
}


static cx_check_rc_t
look_token(cx_look_t *look, TALLOC_CTX *ctx, const char *name, const char *rest)
{
    PGresult *row;
    long long expires;
    const redisReply *value;
    const char *more, *bytes;
    char user_id[CX_ID_LEN + 1];

    more = user_of(rest, user_id);
    bytes = more != NULL ? prefix_bytes(ctx, more) : NULL;

    if (bytes == NULL) {
        return wrong(look, "is no token's name");
    }

    if (!read_value(look, ctx, name, &value)
        || cx_pg_query(look->p->pg, ctx, &row, &SQL_CHECK_TOKEN, bytes)
               != CX_PG_OK) {
        return CX_CHECK_AWAY;
    }

    if (value == NULL) {
        return PQntuples(row) == 0 ? CX_CHECK_SAME : missing(look, "all of it");
    }

    expires = strtoll(value->str, NULL, 10);

    if (expires <= (long long) time(NULL)) {
        return CX_CHECK_SAME;
    }

    if (PQntuples(row) == 0) {
        return has_mark(look, ctx, user_id)
                   ? CX_CHECK_SAME
                   : wrong(look, "lets in, and is not good");
    }

    return strcmp(cx_pg_text(row, 0, 0), user_id) == 0
                   && cx_pg_integer(row, 0, 1) == expires
               ? CX_CHECK_SAME
               : wrong(look, "differs");
}


static void
note_signed_out(cx_look_t *look, const char *user_id)
{
    look->signed_out = cx_must(talloc_realloc(
        NULL, look->signed_out, char *, (unsigned) look->n_signed_out + 1));
    look->signed_out[look->n_signed_out++] =
        cx_must(talloc_strdup(look->signed_out, user_id));
}


static cx_check_rc_t
look_terminal(cx_look_t *look, TALLOC_CTX *ctx, const char *name,
              const char *rest)
{
    PGresult *row;
    const char *more;
    const redisReply *value;
    char user_id[CX_ID_LEN + 1];

    more = user_of(rest, user_id);

    if (more == NULL || more[strspn(more, "0123456789")] != '\0'
        || strlen(more) > 9) {
        return wrong(look, "is no terminal's name");
    }

    if (!read_value(look, ctx, name, &value)
        || cx_pg_query(look->p->pg, ctx, &row, &SQL_CHECK_TERMINAL, user_id,
                       more)
               != CX_PG_OK) {
        return CX_CHECK_AWAY;
    }

    if (value == NULL) {
        return CX_CHECK_SAME;
    }

    if (strcmp(value->str, CX_GONE) != 0) {
        return missing(look, "in doubt");
    }

    if (!look->again) {
        note_signed_out(look, user_id);
    }

    return cx_pg_true(row, 0, 0)
               ? CX_CHECK_SAME
               : wrong(look, "is signed out, and should not be");
}


/* --- thumbnails ----------------------------------------------------------- */

static cx_check_rc_t
look_thumbnail(cx_look_t *look, TALLOC_CTX *ctx, const char *name,
               const char *rest)
{
    PGresult *row;
    const char *truth;
    const redisReply *value;
    unsigned char hash[SHA256_DIGEST_LENGTH];
    char digest[2 * SHA256_DIGEST_LENGTH + 1];

    if (!read_value(look, ctx, name, &value)
        || cx_pg_query(look->p->pg, ctx, &row, &SQL_CHECK_THUMBNAIL, rest)
               != CX_PG_OK) {
        return CX_CHECK_AWAY;
    }

    truth = cx_pg_text(row, 0, 0);

    if (value == NULL) {
        return truth == NULL ? CX_CHECK_SAME : missing(look, "all of it");
    }

    if (value->len == 0) {
        return truth == NULL ? CX_CHECK_SAME
                             : wrong(look, "is denied, and is there");
    }

    if (truth == NULL) {
        return wrong(look, "shows, and is gone");
    }

    SHA256((const unsigned char *) value->str, value->len, hash);
    cx_hex(hash, sizeof(hash), digest);

    return strcmp(digest, truth) == 0 ? CX_CHECK_SAME : wrong(look, "differs");
}


const cx_check_kind_t cx_check_kinds[] = {
    { CX_CARD_PREFIX, "cards", look_card },
    { CX_REDIRECT_PREFIX, "redirects", look_redirect },
    { CX_TOKEN_PREFIX, "tokens", look_token },
    { CX_TERMINAL_PREFIX, "terminals", look_terminal },
    { CX_THUMB_PREFIX, "thumbnails", look_thumbnail },
    /* the rebuild's and the caches' own, and counts that are on their way */
    { CX_EPOCH, "marks", NULL },
    { CX_READY, "marks", NULL },
    { CX_SCANS_PREFIX, "marks", NULL },
    { CX_ZONES, "marks", NULL },
    { NULL, "others", NULL },
};


redisReply *
cx_check_scan(cx_projector_t *p, cx_redis_node_t *node, TALLOC_CTX *ctx,
              char cursor[CX_CURSOR], const char *match)
{
    redisReply *reply;

    reply = cx_redis_words_at(p->redis, node, ctx, "SCAN", cursor, "MATCH",
                              match, "COUNT", "500", NULL);

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != 2 || reply->element[0]->str == NULL
        || reply->element[1]->type != REDIS_REPLY_ARRAY) {
        return NULL;
    }

    snprintf(cursor, CX_CURSOR, "%s", reply->element[0]->str);

    return reply->element[1];
}
