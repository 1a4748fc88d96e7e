
/*
 * /c/{card_id}: the card as JSON to who has its key (A5, A6), and
 * /c/{card_id}/{kind}: its media, handed on once the key is verified.
 */


#include "ngx_http_cardx.h"
#include "cx_etag.h"
#include "cx_range.h"


/* the order of what is asked for */
#define NGX_HTTP_CARDX_REVISION  0
#define NGX_HTTP_CARDX_DOUBT     1
#define NGX_HTTP_CARDX_KEY       2
#define NGX_HTTP_CARDX_VALUE     3      /* the body, or what media there is */


static ngx_int_t ngx_http_cardx_card_parse(ngx_http_cardx_ctx_t *ctx);
static ngx_int_t ngx_http_cardx_card_parse_key(ngx_http_cardx_ctx_t *ctx);
static ngx_uint_t ngx_http_cardx_card_is_json(ngx_http_cardx_ctx_t *ctx);
static ngx_int_t ngx_http_cardx_card_cached(ngx_http_cardx_ctx_t *ctx);
static ngx_int_t ngx_http_cardx_card_find(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_cache_t *cache, ngx_str_t *value);
static void ngx_http_cardx_card_keep(ngx_http_cardx_ctx_t *ctx,
    ngx_str_t *etag, redisReply *key, redisReply *value);
static void ngx_http_cardx_card_keep_key(ngx_http_cardx_ctx_t *ctx,
    redisReply *key);
static size_t ngx_http_cardx_card_value_name(ngx_http_cardx_ctx_t *ctx,
    u_char *name);
static ngx_int_t ngx_http_cardx_card_ask(ngx_http_cardx_ctx_t *ctx);
static void ngx_http_cardx_card_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static ngx_int_t ngx_http_cardx_card_judge(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static ngx_int_t ngx_http_cardx_card_etag(ngx_http_cardx_ctx_t *ctx,
    redisReply *revision, ngx_str_t *etag);
static ngx_int_t ngx_http_cardx_card_send(ngx_http_cardx_ctx_t *ctx,
    ngx_str_t *etag, u_char *body, size_t len,
    ngx_http_cardx_status_e status);
static ngx_int_t ngx_http_cardx_card_range(ngx_http_request_t *r,
    ngx_str_t *id, uint64_t bytes);
static ngx_int_t ngx_http_cardx_card_media(ngx_http_cardx_ctx_t *ctx,
    char *value, size_t len, ngx_http_cardx_status_e status);


static ngx_str_t  ngx_http_cardx_kinds[] = {
    ngx_string("photo"),
    ngx_string("logo"),
    ngx_string("sound"),
    ngx_string("video"),
    ngx_null_string
};


static ngx_str_t  ngx_http_cardx_card_type =
    ngx_string("application/jscontact+json");


static ngx_keyval_t  ngx_http_cardx_card_headers[] = {
    { ngx_string("Vary"), ngx_string("Accept") },
    { ngx_string("Cache-Control"), ngx_string("private, no-cache") },
    { ngx_string("Referrer-Policy"), ngx_string("no-referrer") },
    { ngx_null_string, ngx_null_string }
};


ngx_int_t
ngx_http_cardx_card_handler(ngx_http_request_t *r)
{
    char                        name[CX_NAME_MAX];
    size_t                      len;
    ngx_int_t                   rc;
    ngx_uint_t                  is_json;
    ngx_http_cardx_ctx_t       *ctx;
    ngx_http_cardx_loc_conf_t  *clcf;

    ctx = NULL;

    rc = ngx_http_cardx_begin(r, NGX_HTTP_CARDX_CARD, &ctx);

    if (rc != NGX_OK || ctx == NULL) {
        return rc;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (ngx_http_cardx_card_parse(ctx) != NGX_OK
        || ngx_http_cardx_card_parse_key(ctx) != NGX_OK)
    {
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_MALFORMED);
    }

    is_json = ngx_http_cardx_card_is_json(ctx);

    if (is_json) {
        rc = ngx_http_cardx_card_cached(ctx);

        if (rc != NGX_DECLINED) {
            return rc;
        }
    }

    if (cx_id_check(clcf->id_key, CX_ID_CARD, (char *) ctx->id.data, CX_ID_LEN)
        != 0)
    {
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_MALFORMED);
    }

    if (!is_json) {
        if (ngx_http_cardx_limited(ctx) == 0) {
            return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_PASS);
        }

        /* an address that was refused too often is verified here first */

        ctx->passing = 1;

        return ngx_http_cardx_suspend(ctx, ngx_http_cardx_card_ask(ctx));
    }

    len = cx_card_name(name, (char *) ctx->id.data);

    ngx_http_cardx_cache_begin(clcf->cache, &ctx->fill, name, len);

    return ngx_http_cardx_suspend(ctx, ngx_http_cardx_card_ask(ctx));
}


/*
 * In the cache stand, apart from each other, what Redis said of the key, and
 * the view's body behind its ETag, or what media there is.  Only what has an
 * id with a right tag stands there.
 */

static ngx_int_t
ngx_http_cardx_card_cached(ngx_http_cardx_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_str_t                   value, etag;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    if (ngx_http_cardx_cache_open(clcf->cache) != NGX_OK) {
        return NGX_DECLINED;
    }

    rc = ngx_http_cardx_card_find(ctx, clcf->cache, &value);

    ngx_http_cardx_cache_close(clcf->cache);

    if (rc == NGX_ABORT) {
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (ctx->kind.len) {
        return ngx_http_cardx_card_media(ctx, (char *) value.data, value.len,
                                         NGX_HTTP_CARDX_CACHED);
    }

    etag.len = value.data[0];
    etag.data = value.data + 1;

    return ngx_http_cardx_card_send(ctx, &etag, etag.data + etag.len,
                                    value.len - 1 - etag.len,
                                    NGX_HTTP_CARDX_CACHED);
}


/* NGX_OK: the value, copied; NGX_ABORT: the key is refused. */

static ngx_int_t
ngx_http_cardx_card_find(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_cache_t *cache, ngx_str_t *value)
{
    u_char        *p, name[NGX_HTTP_CARDX_CACHE_KEY];
    time_t         expires;
    ngx_str_t      key, found;
    const char    *view;
    size_t         view_len;
    cx_verdict_t   verdict;

    p = name + ngx_http_cardx_cache_key(name, 'k', ctx->id.data, CX_ID_LEN);
    p = ngx_cpymem(p, ctx->hash, CX_SECRET_LEN);

    if (ngx_http_cardx_cache_find(cache, name, p - name, &key, &expires)
        != NGX_OK
        || (expires && ngx_time() >= expires))
    {
        return NGX_DECLINED;
    }

    if (key.len == 0) {

        /* the card is gone */

        return NGX_ABORT;
    }

    verdict = cx_verdict_read((char *) key.data, key.len, ngx_time(), &view,
                              &view_len);

    if (verdict != CX_VERDICT_GRANTED) {
        return verdict == CX_VERDICT_REFUSED ? NGX_ABORT : NGX_DECLINED;
    }

    ngx_memcpy(ctx->view, view, view_len);
    ctx->view_len = view_len;

    if (ngx_http_cardx_cache_find(cache, name,
                                  ngx_http_cardx_card_value_name(ctx, name),
                                  &found, &expires)
        != NGX_OK)
    {
        return NGX_DECLINED;
    }

    value->len = found.len;
    value->data = ngx_pnalloc(ctx->request->pool, found.len);

    if (value->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memcpy(value->data, found.data, found.len);

    return NGX_OK;
}


static void
ngx_http_cardx_card_keep(ngx_http_cardx_ctx_t *ctx, ngx_str_t *etag,
    redisReply *key, redisReply *value)
{
    u_char                      len, name[NGX_HTTP_CARDX_CACHE_KEY];
    ngx_str_t                   parts[3];
    ngx_uint_t                  n;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    if (clcf->cache == NULL || !ctx->fill.open) {
        return;
    }

    ngx_http_cardx_card_keep_key(ctx, key);

    n = 0;

    if (etag) {
        len = (u_char) etag->len;

        parts[n].len = 1;
        parts[n++].data = &len;
        parts[n++] = *etag;
    }

    parts[n].len = value->len;
    parts[n++].data = (u_char *) value->str;

    ngx_http_cardx_cache_store(clcf->cache, &ctx->fill, name,
                               ngx_http_cardx_card_value_name(ctx, name), 0,
                               parts, n);
}


/* What was said of the key, or NULL: the card is gone. */

static void
ngx_http_cardx_card_keep_key(ngx_http_cardx_ctx_t *ctx, redisReply *key)
{
    u_char                     *p, name[NGX_HTTP_CARDX_CACHE_KEY];
    time_t                      expires;
    ngx_str_t                   said;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    p = name + ngx_http_cardx_cache_key(name, 'k', ctx->id.data, CX_ID_LEN);
    p = ngx_cpymem(p, ctx->hash, CX_SECRET_LEN);

    said.len = key ? key->len : 0;
    said.data = key ? (u_char *) key->str : NULL;

    /* anybody may try keys: what is refused is not kept for long */

    expires = (said.len && said.data[0] >= '0' && said.data[0] <= '9')
              ? 0 : ngx_time() + NGX_HTTP_CARDX_CACHE_REFUSAL;

    ngx_http_cardx_cache_store(clcf->cache, &ctx->fill, name, p - name,
                               expires, &said, 1);
}


/* b{card_id}{view} or m{card_id}{view}:{kind} */

static size_t
ngx_http_cardx_card_value_name(ngx_http_cardx_ctx_t *ctx, u_char *name)
{
    u_char  *p;

    p = name + ngx_http_cardx_cache_key(name, ctx->kind.len ? 'm' : 'b',
                                        ctx->id.data, CX_ID_LEN);
    p = ngx_cpymem(p, ctx->view, ctx->view_len);

    if (ctx->kind.len) {
        *p++ = ':';
        p = ngx_cpymem(p, ctx->kind.data, ctx->kind.len);
    }

    return p - name;
}


/* {card_id}, {card_id}.vcf or {card_id}/{kind} */

static ngx_int_t
ngx_http_cardx_card_parse(ngx_http_cardx_ctx_t *ctx)
{
    ngx_str_t  rest, *kind;

    if (ngx_http_cardx_rest(ctx->request, &rest) != NGX_OK
        || rest.len < CX_ID_LEN)
    {
        return NGX_DECLINED;
    }

    ctx->id.len = CX_ID_LEN;
    ctx->id.data = rest.data;

    rest.len -= CX_ID_LEN;
    rest.data += CX_ID_LEN;

    if (rest.len == 0) {
        /* void */

    } else if (rest.len == sizeof(".vcf") - 1
               && ngx_strncmp(rest.data, ".vcf", sizeof(".vcf") - 1) == 0)
    {
        ctx->vcf = 1;

    } else if (rest.data[0] == '/') {

        for (kind = ngx_http_cardx_kinds; kind->len; kind++) {

            if (rest.len - 1 == kind->len
                && ngx_strncmp(rest.data + 1, kind->data, kind->len) == 0)
            {
                break;
            }
        }

        if (kind->len == 0) {
            return NGX_DECLINED;
        }

        ctx->kind = *kind;
        ctx->path = NGX_HTTP_CARDX_MEDIA;

    } else {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_card_parse_key(ngx_http_cardx_ctx_t *ctx)
{
    ngx_table_elt_t   *h;
    static ngx_str_t   name = ngx_string("cardx-key");

    h = ngx_http_cardx_find_header(ctx->request, &name, NULL);

    if (h && h->value.len) {
        ctx->key = h->value;

    } else if (ngx_http_arg(ctx->request, (u_char *) "k", 1, &ctx->key)
               != NGX_OK)
    {
        return NGX_DECLINED;
    }

    if (cx_card_key_hash((char *) ctx->key.data, ctx->key.len, ctx->hash)
        != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


/* Pages and vCards are made by workers, who verify the key themselves. */

static ngx_uint_t
ngx_http_cardx_card_is_json(ngx_http_cardx_ctx_t *ctx)
{
    ngx_str_t            value;
    ngx_http_request_t  *r;

    if (ctx->kind.len) {
        return 1;
    }

    r = ctx->request;

    if (ctx->vcf
        || ngx_http_arg(r, (u_char *) "version", sizeof("version") - 1, &value)
           == NGX_OK)
    {
        return 0;
    }

    return ngx_http_cardx_form(r) == CX_FORM_JSON;
}


/*
 * All that the judgement rests on comes from one command, hence from one
 * moment.  The view is only known from the key's entry, so the whole card is
 * asked for first, and the right one if the key shows less.
 */

static ngx_int_t
ngx_http_cardx_card_ask(ngx_http_cardx_ctx_t *ctx)
{
    char    name[CX_NAME_MAX];
    size_t  len;
    u_char  *p, *last, command[NGX_HTTP_CARDX_COMMAND];

    p = ngx_http_cardx_command(command, 6);
    p = ngx_http_cardx_literal(p, "HMGET");

    len = cx_card_name(name, (char *) ctx->id.data);
    p = ngx_http_cardx_argument(p, name, len);

    p = ngx_http_cardx_literal(p, CX_FIELD_REVISION);
    p = ngx_http_cardx_literal(p, CX_FIELD_DOUBT);

    len = cx_key_field(name, ctx->hash);
    p = ngx_http_cardx_argument(p, name, len);

    if (ctx->kind.len) {
        last = ngx_cpymem(name, CX_FIELD_MEDIA, sizeof(CX_FIELD_MEDIA) - 1);
        last = ngx_cpymem(last, ctx->view, ctx->view_len);
        *last++ = ':';
        last = ngx_cpymem(last, ctx->kind.data, ctx->kind.len);

    } else {
        last = ngx_cpymem(name, CX_FIELD_BODY, sizeof(CX_FIELD_BODY) - 1);
        last = ngx_cpymem(last, ctx->view, ctx->view_len);
    }

    p = ngx_http_cardx_argument(p, name, last - (u_char *) name);

    return ngx_http_cardx_wait(ctx, ngx_http_cardx_card_reply, command,
                               p - command);
}


static void
ngx_http_cardx_card_reply(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    ngx_int_t  rc;

    if (reply == NULL
        || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != NGX_HTTP_CARDX_VALUE + 1)
    {
        rc = ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);

    } else {
        rc = ngx_http_cardx_card_judge(ctx, reply);
    }

    ngx_http_cardx_done(ctx, rc);
}


/* A5: the key is the stored one, and its time has not run out. */

static ngx_int_t
ngx_http_cardx_card_judge(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    size_t         view_len;
    ngx_str_t      etag;
    const char    *view;
    redisReply    *revision, *key, *value;
    cx_verdict_t   verdict;

    revision = reply->element[NGX_HTTP_CARDX_REVISION];
    key = reply->element[NGX_HTTP_CARDX_KEY];
    value = reply->element[NGX_HTTP_CARDX_VALUE];

    if (revision->type != REDIS_REPLY_STRING) {

        /* nor is there such a card, as a worker found out before */

        if (revision->type == REDIS_REPLY_NIL
            && cx_verdict_read(key->str, key->len, ngx_time(), &view,
                               &view_len)
               == CX_VERDICT_REFUSED)
        {
            ngx_http_cardx_card_keep_key(ctx, key);
            return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);
        }

        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
    }

    if (revision->len == sizeof(CX_GONE) - 1
        && ngx_memcmp(revision->str, CX_GONE, sizeof(CX_GONE) - 1) == 0)
    {
        ngx_http_cardx_card_keep_key(ctx, NULL);
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);
    }

    /* whatever is in doubt is so until it is projected again */

    if (reply->element[NGX_HTTP_CARDX_DOUBT]->type != REDIS_REPLY_NIL) {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
    }

    verdict = cx_verdict_read(key->str, key->len, ngx_time(), &view,
                              &view_len);

    if (verdict == CX_VERDICT_REFUSED) {
        ngx_http_cardx_card_keep_key(ctx, key);
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);
    }

    if (verdict == CX_VERDICT_MISS) {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
    }

    if (ctx->passing) {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_PASS);
    }

    if (view_len != ctx->view_len
        || ngx_memcmp(view, ctx->view, view_len) != 0)
    {
        if (ctx->view_len) {

            /* changed between two commands */

            return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
        }

        ngx_memcpy(ctx->view, view, view_len);
        ctx->view_len = view_len;

        return ngx_http_cardx_card_ask(ctx);
    }

    if (value->type != REDIS_REPLY_STRING || value->len == 0) {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
    }

    if (ctx->kind.len) {
        ngx_http_cardx_card_keep(ctx, NULL, key, value);

        return ngx_http_cardx_card_media(ctx, value->str, value->len,
                                         NGX_HTTP_CARDX_HIT);
    }

    if (ngx_http_cardx_card_etag(ctx, revision, &etag) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_cardx_card_keep(ctx, &etag, key, value);

    return ngx_http_cardx_card_send(ctx, &etag, (u_char *) value->str,
                                    value->len, NGX_HTTP_CARDX_HIT);
}


/* "<revision>-<view>j" */

static ngx_int_t
ngx_http_cardx_card_etag(ngx_http_cardx_ctx_t *ctx, redisReply *revision,
    ngx_str_t *etag)
{
    u_char  *p;

    etag->len = revision->len + ctx->view_len + sizeof("\"-j\"") - 1;

    /* no revision is as long as that; its length is kept in a byte */

    if (etag->len > 255) {
        return NGX_ERROR;
    }

    etag->data = ngx_pnalloc(ctx->request->pool, etag->len);
    if (etag->data == NULL) {
        return NGX_ERROR;
    }

    p = etag->data;

    *p++ = '"';
    p = ngx_cpymem(p, revision->str, revision->len);
    *p++ = '-';
    p = ngx_cpymem(p, ctx->view, ctx->view_len);
    *p++ = 'j';
    *p++ = '"';

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_card_send(ngx_http_cardx_ctx_t *ctx, ngx_str_t *etag,
    u_char *body, size_t len, ngx_http_cardx_status_e status)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    if (ngx_http_cardx_set_etag(r, etag) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_cardx_add_headers(r, ngx_http_cardx_card_headers)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_cardx_count(ctx, status);

    return ngx_http_cardx_send_tagged(r, &ngx_http_cardx_card_type, body,
                                      len);
}


/*
 * A range as nginx reads it is refused where it is none, and may be several:
 * it gets what workers read in it (RFC 9110, 14.2), or nothing.  Refused, too,
 * it is here: nginx would send the headers of every answer twice.
 */

static ngx_int_t
ngx_http_cardx_card_range(ngx_http_request_t *r, ngx_str_t *id,
    uint64_t bytes)
{
    u_char           *p;
    uint64_t          first, last;
    ngx_str_t         etag;
    cx_range_t        range;
    ngx_table_elt_t  *h, *condition;

    static ngx_str_t  content_range = ngx_string("Content-Range");

    h = r->headers_in.range;

    if (h == NULL) {
        return NGX_OK;
    }

    r->headers_in.range = NULL;

    etag.len = id->len + 2;
    etag.data = ngx_pnalloc(r->pool, etag.len);
    if (etag.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    (void) ngx_sprintf(etag.data, "\"%V\"", id);

    condition = r->headers_in.if_range;

    if (r->method != NGX_HTTP_GET
        || (condition
            && (condition->value.len != etag.len
                || ngx_memcmp(condition->value.data, etag.data, etag.len)
                   != 0)))
    {
        return NGX_OK;
    }

    range = cx_range_read((char *) h->value.data, h->value.len, bytes, &first,
                          &last);
    condition = r->headers_in.if_none_match;

    if (range == CX_RANGE_NONE
        || (condition
            && cx_etag_match((char *) condition->value.data,
                             condition->value.len, (char *) etag.data,
                             etag.len)))
    {
        return NGX_OK;
    }

    /* who reads a range reads up to a NUL, as after a header that was sent */

    h = ngx_pcalloc(r->pool, sizeof(ngx_table_elt_t));
    p = ngx_pcalloc(r->pool, sizeof("bytes=-") + 2 * NGX_INT64_LEN);
    if (h == NULL || p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->value.data = p;

    if (range == CX_RANGE_BAD) {
        h->value.len = ngx_sprintf(p, "bytes */%uL", bytes) - p;

        if (ngx_http_cardx_add_header(r, &content_range, &h->value)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return NGX_HTTP_RANGE_NOT_SATISFIABLE;
    }

    h->value.len = ngx_sprintf(p, "bytes=%uL-%uL", first, last) - p;
    r->headers_in.range = h;

    return NGX_OK;
}


/* The bytes are not the module's: another location caches them by id. */

static ngx_int_t
ngx_http_cardx_card_media(ngx_http_cardx_ctx_t *ctx, char *value, size_t len,
    ngx_http_cardx_status_e status)
{
    size_t                      type_len;
    uint64_t                    bytes;
    ngx_int_t                   rc;
    const char                 *id, *type;
    ngx_http_request_t         *r;
    ngx_http_cardx_loc_conf_t  *clcf;

    r = ctx->request;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (clcf->media.len == 0
        || cx_media_read(value, len, &id, &bytes, &type, &type_len) != 0
        || cx_id_check(clcf->id_key, CX_ID_MEDIA, id, CX_ID_LEN) != 0)
    {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
    }

    /* the value stands in the request's pool */

    ctx->media_id.len = CX_ID_LEN;
    ctx->media_id.data = (u_char *) id;
    ctx->media_type.len = type_len;
    ctx->media_type.data = (u_char *) type;

    ngx_http_cardx_count(ctx, status);

    rc = ngx_http_cardx_card_range(r, &ctx->media_id, bytes);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!r->discard_body) {
        r->read_event_handler = ngx_http_block_reading;
    }

    return ngx_http_named_location(r, &clcf->media);
}
