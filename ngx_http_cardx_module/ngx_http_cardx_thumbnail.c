
/*
 * /t/{thumbnail_id}: the little picture that is looked at before the card is
 * fetched (A4).  Its id is new whenever the picture is, so it never changes.
 */


#include "ngx_http_cardx.h"


static void ngx_http_cardx_thumbnail_keep(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static void ngx_http_cardx_thumbnail_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static ngx_int_t ngx_http_cardx_thumbnail_cached(ngx_http_cardx_ctx_t *ctx);
static ngx_int_t ngx_http_cardx_thumbnail_send(ngx_http_cardx_ctx_t *ctx,
    u_char *data, size_t len, ngx_http_cardx_status_e status);


static ngx_str_t  ngx_http_cardx_thumbnail_type = ngx_string("image/webp");


static ngx_keyval_t  ngx_http_cardx_thumbnail_headers[] = {
    { ngx_string("Cache-Control"),
      ngx_string("public, max-age=31536000, immutable") },
    { ngx_null_string, ngx_null_string }
};


ngx_int_t
ngx_http_cardx_thumbnail_handler(ngx_http_request_t *r)
{
    char                        name[CX_NAME_MAX];
    size_t                      len;
    ngx_int_t                   rc;
    ngx_http_cardx_ctx_t       *ctx;
    ngx_http_cardx_loc_conf_t  *clcf;

    ctx = NULL;

    rc = ngx_http_cardx_begin(r, NGX_HTTP_CARDX_THUMBNAIL, &ctx);

    if (rc != NGX_OK || ctx == NULL) {
        return rc;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (ngx_http_cardx_rest(r, &ctx->id) != NGX_OK
        || ctx->id.len != CX_ID_LEN)
    {
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_MALFORMED);
    }

    rc = ngx_http_cardx_thumbnail_cached(ctx);

    if (rc != NGX_DECLINED) {
        return rc;
    }

    if (cx_id_check(clcf->id_key, CX_ID_THUMBNAIL, (char *) ctx->id.data,
                    ctx->id.len)
        != 0)
    {
        return ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_MALFORMED);
    }

    len = cx_thumb_name(name, (char *) ctx->id.data);

    return ngx_http_cardx_get_value(ctx, name, len,
                                    ngx_http_cardx_thumbnail_reply);
}


/* Only what has an id with a right tag stands in the cache. */

static ngx_int_t
ngx_http_cardx_thumbnail_cached(ngx_http_cardx_ctx_t *ctx)
{
    time_t                      expires;
    u_char                     *data, key[NGX_HTTP_CARDX_CACHE_KEY];
    size_t                      len;
    ngx_int_t                   rc;
    ngx_str_t                   value;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    if (ngx_http_cardx_cache_open(clcf->cache) != NGX_OK) {
        return NGX_DECLINED;
    }

    data = NULL;
    len = ngx_http_cardx_cache_key(key, 't', ctx->id.data, CX_ID_LEN);

    rc = ngx_http_cardx_cache_find(clcf->cache, key, len, &value, &expires);

    if (rc == NGX_OK) {
        data = ngx_pnalloc(ctx->request->pool, value.len);

        if (data) {
            ngx_memcpy(data, value.data, value.len);
        }
    }

    ngx_http_cardx_cache_close(clcf->cache);

    if (data == NULL) {
        return NGX_DECLINED;
    }

    return ngx_http_cardx_thumbnail_send(ctx, data, value.len,
                                         NGX_HTTP_CARDX_CACHED);
}


static void
ngx_http_cardx_thumbnail_keep(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    u_char                      key[NGX_HTTP_CARDX_CACHE_KEY];
    size_t                      len;
    ngx_str_t                   value;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    value.len = reply->len;
    value.data = (u_char *) reply->str;

    len = ngx_http_cardx_cache_key(key, 't', ctx->id.data, CX_ID_LEN);

    ngx_http_cardx_cache_store(clcf->cache, &ctx->fill, key, len, 0, &value,
                               1);
}


static void
ngx_http_cardx_thumbnail_reply(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    ngx_int_t  rc;

    if (reply == NULL || reply->type != REDIS_REPLY_STRING) {
        rc = ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);

    } else if (reply->len == 0) {

        /* the card was deleted */

        rc = ngx_http_cardx_refuse(ctx, NGX_HTTP_CARDX_REFUSED);

    } else {
        ngx_http_cardx_thumbnail_keep(ctx, reply);

        rc = ngx_http_cardx_thumbnail_send(ctx, (u_char *) reply->str,
                                           reply->len, NGX_HTTP_CARDX_HIT);
    }

    ngx_http_cardx_done(ctx, rc);
}


static ngx_int_t
ngx_http_cardx_thumbnail_send(ngx_http_cardx_ctx_t *ctx, u_char *data,
    size_t len, ngx_http_cardx_status_e status)
{
    u_char              *p;
    ngx_str_t            etag;
    ngx_http_request_t  *r;

    r = ctx->request;

    etag.len = ctx->id.len + sizeof("\"\"") - 1;
    etag.data = ngx_pnalloc(r->pool, etag.len);

    if (etag.data == NULL || ngx_http_cardx_set_etag(r, &etag) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = etag.data;

    *p++ = '"';
    p = ngx_cpymem(p, ctx->id.data, ctx->id.len);
    *p++ = '"';

    if (ngx_http_cardx_add_headers(r, ngx_http_cardx_thumbnail_headers)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_cardx_count(ctx, status);

    return ngx_http_cardx_send_tagged(r, &ngx_http_cardx_thumbnail_type,
                                      data, len);
}
