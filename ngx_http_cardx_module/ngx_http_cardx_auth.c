
/*
 * The access token's check, in the access phase.  Who can not be told from
 * what stands in Redis passes without a user: the worker asks PostgreSQL.
 */


#include "ngx_http_cardx.h"


static ngx_int_t ngx_http_cardx_auth_begin(ngx_http_request_t *r,
    ngx_http_cardx_ctx_t *ctx);
static ngx_int_t ngx_http_cardx_auth_stream(ngx_http_request_t *r,
    ngx_http_cardx_loc_conf_t *clcf, cx_token_t *token);
static ngx_int_t ngx_http_cardx_auth_bearer(ngx_http_request_t *r,
    ngx_str_t *value);
static ngx_int_t ngx_http_cardx_auth_cached(ngx_http_request_t *r,
    ngx_http_cardx_ctx_t *ctx, ngx_str_t *bearer);
static void ngx_http_cardx_auth_keep(ngx_http_cardx_ctx_t *ctx,
    redisReply *token);
static void ngx_http_cardx_auth_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);


ngx_int_t
ngx_http_cardx_auth_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_http_cardx_ctx_t       *ctx;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (!clcf->auth) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_cardx_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* what is known is not asked again after an internal redirect */

    if (ctx->auth == NGX_HTTP_CARDX_AUTH_NONE) {

        rc = ngx_http_cardx_auth_begin(r, ctx);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    switch (ctx->auth) {

    case NGX_HTTP_CARDX_AUTH_WAITING:
        return NGX_AGAIN;

    case NGX_HTTP_CARDX_AUTH_VERIFIED:
        return NGX_OK;

    case NGX_HTTP_CARDX_AUTH_REFUSED:
        return ngx_http_cardx_unauthorized(r);

    default: /* NGX_HTTP_CARDX_AUTH_UNKNOWN */
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_http_cardx_auth_begin(ngx_http_request_t *r, ngx_http_cardx_ctx_t *ctx)
{
    size_t                      len;
    char                        name[CX_NAME_MAX];
    u_char                      command[NGX_HTTP_CARDX_COMMAND];
    ngx_str_t                   bearer;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    ctx->path = NGX_HTTP_CARDX_AUTH;

    ctx->token = ngx_pcalloc(r->pool, sizeof(cx_token_t));
    if (ctx->token == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (r->content_handler == ngx_http_cardx_events_handler) {

        /* a stream asks when it listens, and again whenever it has to */

        if (ngx_http_cardx_auth_stream(r, clcf, ctx->token) == NGX_OK) {
            ctx->auth = NGX_HTTP_CARDX_AUTH_UNKNOWN;
            return NGX_OK;
        }

        ctx->auth = NGX_HTTP_CARDX_AUTH_REFUSED;
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_MALFORMED);
        return NGX_OK;
    }

    if (ngx_http_cardx_auth_bearer(r, &bearer) != NGX_OK) {
        ctx->auth = NGX_HTTP_CARDX_AUTH_REFUSED;
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_MALFORMED);
        return NGX_OK;
    }

    if (ngx_http_cardx_auth_cached(r, ctx, &bearer) == NGX_OK) {
        ctx->auth = NGX_HTTP_CARDX_AUTH_VERIFIED;
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_CACHED);
        return NGX_OK;
    }

    if (cx_token_parse(clcf->id_key, CX_TOKEN_ACCESS, (char *) bearer.data,
                       bearer.len, ctx->token)
        != 0)
    {
        ctx->auth = NGX_HTTP_CARDX_AUTH_REFUSED;
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_MALFORMED);
        return NGX_OK;
    }

    len = cx_terminal_name(name, ctx->token);

    /* a token is its terminal's, and forgotten with it */

    ngx_http_cardx_cache_begin(clcf->cache, &ctx->fill, name, len);

    if (clcf->updates) {
        ngx_http_cardx_head_begin(ctx);
    }

    len = ngx_http_cardx_auth_command(command, ctx->token, clcf->updates);

    if (ngx_http_cardx_redis_ask(ctx, clcf->redis, ngx_http_cardx_auth_reply,
                                 command, len)
        != NGX_OK)
    {
        ctx->auth = NGX_HTTP_CARDX_AUTH_UNKNOWN;
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_MISS);
        return NGX_OK;
    }

    ctx->auth = NGX_HTTP_CARDX_AUTH_WAITING;

    return (ngx_http_cardx_notice_leaving(r) == NGX_OK)
               ? NGX_OK : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* The token, its terminal's mark and, if wanted, the user's head. */

size_t
ngx_http_cardx_auth_command(u_char *command, cx_token_t *token,
    ngx_uint_t head)
{
    char     name[CX_NAME_MAX];
    size_t   len;
    u_char  *p;

    p = ngx_http_cardx_command(command, head ? 4 : 3);
    p = ngx_http_cardx_literal(p, "MGET");

    len = cx_token_name(name, token);
    p = ngx_http_cardx_argument(p, name, len);

    len = cx_terminal_name(name, token);
    p = ngx_http_cardx_argument(p, name, len);

    if (head) {
        len = cx_head_name(name, token->user_id);
        p = ngx_http_cardx_argument(p, name, len);
    }

    return p - command;
}


/* A stream's ticket, or its token; EventSource can not send a header. */

static ngx_int_t
ngx_http_cardx_auth_stream(ngx_http_request_t *r,
    ngx_http_cardx_loc_conf_t *clcf, cx_token_t *token)
{
    int        rc;
    ngx_str_t  value;

    if (ngx_http_arg(r, (u_char *) "ticket", sizeof("ticket") - 1, &value)
        == NGX_OK)
    {
        rc = cx_ticket_parse(clcf->id_key, (char *) value.data, value.len,
                             token);

    } else if (ngx_http_cardx_auth_bearer(r, &value) == NGX_OK) {
        rc = cx_token_parse(clcf->id_key, CX_TOKEN_ACCESS,
                            (char *) value.data, value.len, token);

    } else {
        return NGX_DECLINED;
    }

    return (rc == 0) ? NGX_OK : NGX_DECLINED;
}


/* Authorization: Bearer <token> (RFC 6750, 2.1) */

static ngx_int_t
ngx_http_cardx_auth_bearer(ngx_http_request_t *r, ngx_str_t *bearer)
{
    ngx_str_t  value;

    if (r->headers_in.authorization == NULL) {
        return NGX_DECLINED;
    }

    value = r->headers_in.authorization->value;

    if (value.len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(value.data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           != 0)
    {
        return NGX_DECLINED;
    }

    value.len -= sizeof("Bearer ") - 1;
    value.data += sizeof("Bearer ") - 1;

    while (value.len && value.data[0] == ' ') {
        value.len--;
        value.data++;
    }

    *bearer = value;

    return NGX_OK;
}


/*
 * Only tokens with a right tag stand in the cache, and whose each is: a hash
 * that is found there saves the rest of the reading.
 */

static ngx_int_t
ngx_http_cardx_auth_cached(ngx_http_request_t *r, ngx_http_cardx_ctx_t *ctx,
    ngx_str_t *bearer)
{
    size_t                      len;
    time_t                      expires;
    u_char                      key[NGX_HTTP_CARDX_CACHE_KEY];
    ngx_int_t                   rc;
    ngx_str_t                   value;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (clcf->cache == NULL
        || cx_token_hash((char *) bearer->data, bearer->len, ctx->token->hash,
                         &ctx->token->terminal_id)
           != 0
        || ngx_http_cardx_cache_open(clcf->cache) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    len = ngx_http_cardx_cache_key(key, 'a', ctx->token->hash, CX_SECRET_LEN);

    rc = ngx_http_cardx_cache_find(clcf->cache, key, len, &value, &expires);

    if (rc == NGX_OK && value.len == CX_ID_LEN) {
        ngx_memcpy(ctx->token->user_id, value.data, CX_ID_LEN);
        ctx->token->user_id[CX_ID_LEN] = '\0';

        if (clcf->updates) {
            ngx_http_cardx_head_find(ctx, clcf->cache);
        }

    } else {
        rc = NGX_DECLINED;
    }

    ngx_http_cardx_cache_close(clcf->cache);

    return (rc == NGX_OK && ngx_time() < expires) ? NGX_OK : NGX_DECLINED;
}


static void
ngx_http_cardx_auth_keep(ngx_http_cardx_ctx_t *ctx, redisReply *token)
{
    size_t                      len;
    time_t                      expires;
    u_char                      key[NGX_HTTP_CARDX_CACHE_KEY];
    ngx_str_t                   user;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    expires = ngx_atotm((u_char *) token->str, token->len);

    user.len = CX_ID_LEN;
    user.data = (u_char *) ctx->token->user_id;

    len = ngx_http_cardx_cache_key(key, 'a', ctx->token->hash, CX_SECRET_LEN);

    if (expires != NGX_ERROR) {
        ngx_http_cardx_cache_store(clcf->cache, &ctx->fill, key, len, expires,
                                   &user, 1);
    }
}


static void
ngx_http_cardx_auth_reply(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ctx->auth = ngx_http_cardx_auth_judge(reply);

    switch (ctx->auth) {

    case NGX_HTTP_CARDX_AUTH_VERIFIED:
        ngx_http_cardx_auth_keep(ctx, reply->element[0]);

        if (reply->elements == 3
            && reply->element[2]->type == REDIS_REPLY_STRING)
        {
            ctx->head.len = reply->element[2]->len;
            ctx->head.data = (u_char *) reply->element[2]->str;

            ngx_http_cardx_head_keep(ctx, reply->element[2]);
        }

        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_HIT);
        break;

    case NGX_HTTP_CARDX_AUTH_REFUSED:
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_REFUSED);
        break;

    default: /* NGX_HTTP_CARDX_AUTH_UNKNOWN */
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_MISS);
        break;
    }

    r->read_event_handler = ngx_http_block_reading;

    ngx_http_core_run_phases(r);
}


ngx_http_cardx_auth_e
ngx_http_cardx_auth_judge(redisReply *reply)
{
    redisReply  *token, *mark;

    if (reply == NULL
        || reply->type != REDIS_REPLY_ARRAY
        || reply->elements < 2)
    {
        return NGX_HTTP_CARDX_AUTH_UNKNOWN;
    }

    token = reply->element[0];
    mark = reply->element[1];

    /* a mark that can not be read is no absent mark */

    if (mark->type != REDIS_REPLY_NIL && mark->type != REDIS_REPLY_STRING) {
        return NGX_HTTP_CARDX_AUTH_UNKNOWN;
    }

    switch (cx_token_verdict_read(token->str, token->len, mark->str, mark->len,
                                  ngx_time()))
    {
    case CX_VERDICT_GRANTED:
        return NGX_HTTP_CARDX_AUTH_VERIFIED;

    case CX_VERDICT_REFUSED:
        return NGX_HTTP_CARDX_AUTH_REFUSED;

    default: /* CX_VERDICT_MISS */
        return NGX_HTTP_CARDX_AUTH_UNKNOWN;
    }
}
