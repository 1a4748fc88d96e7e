
/*
 * /q/{key}: what a scanned code opens.  Redis knows only the key's hash, so
 * the key goes on into the address from the request itself.
 */


#include "ngx_http_cardx.h"


static ngx_int_t ngx_http_cardx_redirect_cached(ngx_http_cardx_ctx_t *ctx);
static void ngx_http_cardx_redirect_keep(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static void ngx_http_cardx_redirect_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static ngx_int_t ngx_http_cardx_redirect_send(ngx_http_cardx_ctx_t *ctx,
    const char *card_id, ngx_http_cardx_status_e status);


static ngx_str_t  ngx_http_cardx_location = ngx_string("Location");


static ngx_keyval_t  ngx_http_cardx_redirect_headers[] = {
    { ngx_string("Cache-Control"), ngx_string("no-store") },
    { ngx_string("Referrer-Policy"), ngx_string("no-referrer") },
    { ngx_null_string, ngx_null_string }
};


ngx_int_t
ngx_http_cardx_redirect_handler(ngx_http_request_t *r)
{
    char                   name[CX_NAME_MAX];
    size_t                 len;
    ngx_int_t              rc;
    ngx_http_cardx_ctx_t  *ctx;

    ctx = NULL;

    rc = ngx_http_cardx_begin(r, NGX_HTTP_CARDX_REDIRECT, &ctx);

    if (rc != NGX_OK || ctx == NULL) {
        return rc;
    }

    if (ngx_http_cardx_rest(r, &ctx->key) != NGX_OK
        || cx_card_key_hash((char *) ctx->key.data, ctx->key.len, ctx->hash)
           != 0)
    {
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_MALFORMED);
    }

    rc = ngx_http_cardx_redirect_cached(ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    len = cx_redirect_name(name, ctx->hash);

    return ngx_http_cardx_get_value(ctx, name, len,
                                    ngx_http_cardx_redirect_reply);
}


/* What Redis said is kept as it is, and read again. */

static ngx_int_t
ngx_http_cardx_redirect_cached(ngx_http_cardx_ctx_t *ctx)
{
    char                        copy[CX_NAME_MAX];
    size_t                      len;
    time_t                      expires;
    u_char                      key[NGX_HTTP_CARDX_CACHE_KEY];
    ngx_int_t                   rc;
    ngx_str_t                   value;
    const char                 *card_id;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    if (ngx_http_cardx_cache_open(clcf->cache) != NGX_OK) {
        return NGX_DECLINED;
    }

    len = ngx_http_cardx_cache_key(key, 'q', ctx->hash, CX_SECRET_LEN);

    rc = ngx_http_cardx_cache_find(clcf->cache, key, len, &value, &expires);

    if (rc == NGX_OK && value.len <= sizeof(copy)) {
        ngx_memcpy(copy, value.data, value.len);

    } else {
        rc = NGX_DECLINED;
    }

    ngx_http_cardx_cache_close(clcf->cache);

    if (rc != NGX_OK || (expires && ngx_time() >= expires)) {
        return NGX_DECLINED;
    }

    switch (cx_redirect_read(copy, value.len, ngx_time(), &card_id)) {

    case CX_VERDICT_GRANTED:
        return ngx_http_cardx_redirect_send(ctx, card_id,
                                            NGX_HTTP_CARDX_CACHED);

    case CX_VERDICT_REFUSED:
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);

    default: /* CX_VERDICT_MISS */
        return NGX_DECLINED;
    }
}


static void
ngx_http_cardx_redirect_keep(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    size_t                      len;
    time_t                      expires;
    u_char                      key[NGX_HTTP_CARDX_CACHE_KEY];
    ngx_str_t                   value;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    len = ngx_http_cardx_cache_key(key, 'q', ctx->hash, CX_SECRET_LEN);

    value.len = reply->len;
    value.data = (u_char *) reply->str;

    /* a denial is not kept for as long as Redis keeps it */

    expires = (reply->len == sizeof(CX_GONE) - 1)
              ? ngx_time() + NGX_HTTP_CARDX_CACHE_REFUSAL : 0;

    ngx_http_cardx_cache_store(clcf->cache, &ctx->fill, key, len, expires,
                               &value, 1);
}


static void
ngx_http_cardx_redirect_reply(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    ngx_int_t      rc;
    const char    *card_id;
    cx_verdict_t   verdict;

    verdict = CX_VERDICT_MISS;

    if (reply && reply->type == REDIS_REPLY_STRING) {
        verdict = cx_redirect_read(reply->str, reply->len, ngx_time(),
                                   &card_id);
    }

    if (verdict != CX_VERDICT_MISS) {
        ngx_http_cardx_redirect_keep(ctx, reply);
    }

    switch (verdict) {

    case CX_VERDICT_GRANTED:
        rc = ngx_http_cardx_redirect_send(ctx, card_id, NGX_HTTP_CARDX_HIT);
        break;

    case CX_VERDICT_REFUSED:
        rc = ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);
        break;

    default: /* CX_VERDICT_MISS */
        rc = ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
        break;
    }

    ngx_http_cardx_done(ctx, rc);
}


static ngx_int_t
ngx_http_cardx_redirect_send(ngx_http_cardx_ctx_t *ctx, const char *card_id,
    ngx_http_cardx_status_e status)
{
    u_char                     *p;
    ngx_str_t                   location;
    ngx_uint_t                  i;
    ngx_http_request_t         *r;
    ngx_http_cardx_loc_conf_t  *clcf;

    r = ctx->request;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    /* /c/<card_id>?k=<KEY>; not in headers_out.location, or nginx would make
     * it absolute from what it takes for its own name */

    location.len = sizeof("/c/?k=") - 1 + CX_ID_LEN + CX_KEY_LEN;
    location.data = ngx_pnalloc(r->pool, location.len);

    if (location.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_cpymem(location.data, "/c/", sizeof("/c/") - 1);
    p = ngx_cpymem(p, card_id, CX_ID_LEN);
    p = ngx_cpymem(p, "?k=", sizeof("?k=") - 1);

    for (i = 0; i < CX_KEY_LEN; i++) {
        *p++ = ngx_toupper(ctx->key.data[i]);
    }

    if (ngx_http_cardx_add_header(r, &ngx_http_cardx_location, &location)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_cardx_add_headers(r, ngx_http_cardx_redirect_headers)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_cardx_count(ctx, status);

    if (r == r->main && r->method == NGX_HTTP_GET) {
        ngx_http_cardx_scans_count(clcf->redis, ctx->hash);
    }

    r->headers_out.status = NGX_HTTP_MOVED_TEMPORARILY;

    return ngx_http_cardx_send(r, NULL, NULL, 0);
}
