
/*
 * "Is there anything new?" (D6): 204 if the user's head says no, at once or
 * after a wait; everything else is a worker's.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_WAIT_MAX  55

/* ms that a client waits while Redis can't tell, as streams do (retry) */
#define NGX_HTTP_CARDX_PAUSE      1000
#define NGX_HTTP_CARDX_PAUSE_MORE 4000


struct ngx_http_cardx_waiter_s {
    ngx_http_cardx_listener_t        listener;
    ngx_http_cardx_ctx_t            *ctx;
    cx_position_t                    since;
    ngx_msec_t                       wait;
    unsigned                         missed:1;
    unsigned                         paused:1;
};


static ngx_int_t ngx_http_cardx_updates_query(ngx_http_request_t *r,
    ngx_http_cardx_waiter_t *w);
static ngx_int_t ngx_http_cardx_updates_ask(ngx_http_cardx_waiter_t *w);
static void ngx_http_cardx_updates_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static ngx_int_t ngx_http_cardx_updates_judge(ngx_http_cardx_waiter_t *w,
    u_char *head, size_t len);
static ngx_int_t ngx_http_cardx_updates_hold(ngx_http_cardx_waiter_t *w);
static ngx_int_t ngx_http_cardx_updates_nothing(ngx_http_cardx_ctx_t *ctx);
static ngx_int_t ngx_http_cardx_updates_pause(ngx_http_cardx_waiter_t *w);
static ngx_int_t ngx_http_cardx_updates_worker(ngx_http_cardx_waiter_t *w);
static void ngx_http_cardx_updates_wake(ngx_http_cardx_listener_t *l,
    const char *epoch, cx_wake_t wake, ngx_uint_t serial);
static void ngx_http_cardx_updates_again(ngx_http_cardx_listener_t *l);
static void ngx_http_cardx_updates_pass(ngx_http_cardx_listener_t *l);
static void ngx_http_cardx_updates_read(ngx_http_request_t *r);
static void ngx_http_cardx_updates_leave(ngx_http_cardx_waiter_t *w);


static const ngx_http_cardx_listener_calls_t  ngx_http_cardx_updates_calls = {
    ngx_http_cardx_updates_wake,
    ngx_http_cardx_updates_again,
    ngx_http_cardx_updates_pass,
    NULL
};


ngx_int_t
ngx_http_cardx_updates_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_cardx_ctx_t     *ctx;
    ngx_http_cardx_waiter_t  *w;

    ctx = NULL;

    rc = ngx_http_cardx_begin(r, NGX_HTTP_CARDX_UPDATES, &ctx);

    if (rc != NGX_OK || ctx == NULL) {
        return rc;
    }

    w = ngx_pcalloc(r->pool, sizeof(ngx_http_cardx_waiter_t));
    if (w == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    w->ctx = ctx;
    w->listener.calls = &ngx_http_cardx_updates_calls;
    w->listener.impatient = 1;

    ctx->waiter = w;

    if (ngx_http_cardx_updates_query(r, w) != NGX_OK) {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_PASS);
    }

    if (ctx->auth != NGX_HTTP_CARDX_AUTH_VERIFIED) {
        return w->wait
               ? ngx_http_cardx_suspend(ctx, ngx_http_cardx_updates_pause(w))
               : ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_PASS);
    }

    /* it may have come with the token */

    if (ctx->head.len) {
        rc = ngx_http_cardx_updates_judge(w, ctx->head.data, ctx->head.len);

    } else {
        rc = ngx_http_cardx_updates_ask(w);
    }

    return ngx_http_cardx_suspend(ctx, rc);
}


/* NGX_DECLINED: not for here, be it wrong or not. */

static ngx_int_t
ngx_http_cardx_updates_query(ngx_http_request_t *r,
    ngx_http_cardx_waiter_t *w)
{
    ngx_int_t  wait;
    ngx_str_t  value;

    if (r != r->main) {

        /* nobody's token, and the timer is another request's */

        return NGX_DECLINED;
    }

    if (ngx_http_arg(r, (u_char *) "since", 5, &value) != NGX_OK
        || cx_position_read((char *) value.data, value.len, &w->since) != 0
        || w->since.kind.len)
    {
        return NGX_DECLINED;
    }

    if (ngx_http_arg(r, (u_char *) "with", 4, &value) == NGX_OK
        && (value.len != sizeof("objects") - 1
            || ngx_strncmp(value.data, "objects", value.len) != 0))
    {
        return NGX_DECLINED;
    }

    if (ngx_http_arg(r, (u_char *) "wait", 4, &value) == NGX_OK) {

        wait = ngx_atoi(value.data, value.len);

        if (wait == NGX_ERROR || value.len > 2
            || wait > NGX_HTTP_CARDX_WAIT_MAX)
        {
            return NGX_DECLINED;
        }

        w->wait = (ngx_msec_t) wait * 1000;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_updates_ask(ngx_http_cardx_waiter_t *w)
{
    char                        name[CX_NAME_MAX];
    size_t                      len;
    u_char                     *p, command[NGX_HTTP_CARDX_COMMAND];
    ngx_http_request_t         *r;
    ngx_http_cardx_loc_conf_t  *clcf;

    r = w->ctx->request;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    w->missed = 0;
    w->ctx->head_cached = 0;

    ngx_http_cardx_head_begin(w->ctx);

    p = ngx_http_cardx_command(command, 2);
    p = ngx_http_cardx_literal(p, "GET");

    len = cx_head_name(name, w->ctx->token->user_id);
    p = ngx_http_cardx_argument(p, name, len);

    if (ngx_http_cardx_redis_ask(w->ctx, clcf->redis,
                                 ngx_http_cardx_updates_reply, command,
                                 p - command)
        != NGX_OK)
    {
        return ngx_http_cardx_updates_pause(w);
    }

    if (!r->discard_body) {
        r->read_event_handler = ngx_http_cardx_updates_read;
    }

    return NGX_BUSY;
}


static void
ngx_http_cardx_updates_reply(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    ngx_int_t                 rc;
    ngx_http_cardx_waiter_t  *w;

    w = ctx->waiter;

    if (reply && reply->type == REDIS_REPLY_STRING) {
        ngx_http_cardx_head_keep(ctx, reply);

        rc = ngx_http_cardx_updates_judge(w, (u_char *) reply->str,
                                          reply->len);

    } else {
        rc = reply ? ngx_http_cardx_updates_worker(w)
                   : ngx_http_cardx_updates_pause(w);
    }

    ngx_http_cardx_done(w->ctx, rc);
}


static ngx_int_t
ngx_http_cardx_updates_judge(ngx_http_cardx_waiter_t *w, u_char *head,
    size_t len)
{
    if (!cx_position_is_new(&w->since, (char *) head, len)) {

        /* Redis may know better how far tokens have come since */

        return w->ctx->head_cached ? ngx_http_cardx_updates_ask(w)
                                   : ngx_http_cardx_updates_worker(w);
    }

    if (w->wait == 0) {
        return ngx_http_cardx_updates_nothing(w->ctx);
    }

    return ngx_http_cardx_updates_hold(w);
}


/* The first time the head may have moved before anything was heard: it is
 * looked at once more, from then on a message says so. */

static ngx_int_t
ngx_http_cardx_updates_hold(ngx_http_cardx_waiter_t *w)
{
    ngx_http_request_t         *r;
    ngx_http_cardx_loc_conf_t  *clcf;

    r = w->ctx->request;

    if (w->listener.hub) {

        if (w->missed) {
            return ngx_http_cardx_updates_ask(w);
        }

        return NGX_BUSY;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (ngx_http_cardx_listen(clcf->redis, &w->listener,
                              w->ctx->token->user_id)
        != NGX_OK)
    {
        return ngx_http_cardx_updates_worker(w);
    }

    r->read_event_handler = ngx_http_cardx_updates_read;

    ngx_add_timer(r->connection->read, w->wait);

    if (ngx_http_cardx_is_heard(&w->listener)) {
        return ngx_http_cardx_updates_ask(w);
    }

    return NGX_BUSY;
}


static ngx_int_t
ngx_http_cardx_updates_nothing(ngx_http_cardx_ctx_t *ctx)
{
    ngx_http_request_t  *r;

    r = ctx->request;

    ngx_http_cardx_count(ctx, ctx->head_cached ? NGX_HTTP_CARDX_CACHED
                                               : NGX_HTTP_CARDX_HIT);

    if (ngx_http_cardx_no_store(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_NO_CONTENT;
    r->header_only = 1;

    return ngx_http_send_header(r);
}


/*
 * Redis can't tell.  Who came to wait would be back at once if a worker said
 * that there is nothing, and so would all others.
 */

static ngx_int_t
ngx_http_cardx_updates_pause(ngx_http_cardx_waiter_t *w)
{
    ngx_msec_t           ms;
    ngx_http_request_t  *r;

    if (w->wait == 0 || w->paused || ngx_exiting || ngx_terminate) {
        return ngx_http_cardx_updates_worker(w);
    }

    r = w->ctx->request;

    w->paused = 1;

    r->read_event_handler = ngx_http_cardx_updates_read;

    ms = NGX_HTTP_CARDX_PAUSE + ngx_random() % NGX_HTTP_CARDX_PAUSE_MORE;

    ngx_add_timer(r->connection->read, ngx_min(w->wait, ms));

    return NGX_BUSY;
}


static ngx_int_t
ngx_http_cardx_updates_worker(ngx_http_cardx_waiter_t *w)
{
    ngx_http_cardx_updates_leave(w);

    return ngx_http_cardx_fall_back(w->ctx, NGX_HTTP_CARDX_MISS);
}


static void
ngx_http_cardx_updates_wake(ngx_http_cardx_listener_t *l, const char *epoch,
    cx_wake_t wake, ngx_uint_t serial)
{
    uint64_t                  last;
    ngx_connection_t         *c;
    ngx_http_cardx_waiter_t  *w;

    w = (ngx_http_cardx_waiter_t *) l;
    c = w->ctx->request->connection;

    if (wake.terminal_id) {

        if (wake.terminal_id == w->ctx->token->terminal_id) {
            ngx_http_cardx_updates_leave(w);
            w->ctx->auth = NGX_HTTP_CARDX_AUTH_REFUSED;

            if (ngx_http_cardx_unauthorized(w->ctx->request) != NGX_DONE) {
                ngx_http_finalize_request(w->ctx->request,
                                          NGX_HTTP_UNAUTHORIZED);
            }

            ngx_http_run_posted_requests(c);
        }

        return;
    }

    last = ngx_http_cardx_wake_last(wake);

    if (last
        && last < w->since.xid
        && ngx_memcmp(epoch, w->since.epoch, CX_LOG_EPOCH_LEN) == 0)
    {
        return;
    }

    ngx_http_cardx_updates_pass(l);
}


static void
ngx_http_cardx_updates_again(ngx_http_cardx_listener_t *l)
{
    ngx_int_t                 rc;
    ngx_connection_t         *c;
    ngx_http_cardx_waiter_t  *w;

    w = (ngx_http_cardx_waiter_t *) l;
    c = w->ctx->request->connection;

    if (w->ctx->ticket) {
        w->missed = 1;
        return;
    }

    /* while nothing is heard there is no use in waiting */

    rc = ngx_http_cardx_is_heard(l) ? ngx_http_cardx_updates_ask(w)
                                    : ngx_http_cardx_updates_pause(w);

    ngx_http_cardx_done(w->ctx, rc);

    ngx_http_run_posted_requests(c);
}


/* A worker answers: something is new, or nginx's process is to end. */

static void
ngx_http_cardx_updates_pass(ngx_http_cardx_listener_t *l)
{
    ngx_connection_t         *c;
    ngx_http_cardx_waiter_t  *w;

    w = (ngx_http_cardx_waiter_t *) l;
    c = w->ctx->request->connection;

    ngx_http_cardx_done(w->ctx, ngx_http_cardx_updates_worker(w));

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_cardx_updates_read(ngx_http_request_t *r)
{
    ngx_event_t              *rev;
    ngx_http_cardx_ctx_t     *ctx;
    ngx_http_cardx_waiter_t  *w;

    rev = r->connection->read;

    if (!rev->timedout) {
        ngx_http_test_reading(r);
        return;
    }

    rev->timedout = 0;

    ctx = ngx_http_cardx_get_ctx(r);
    w = ctx->waiter;

    /* what nobody could tell of while it waited is a worker's to know */

    if (w->paused || w->missed || !ngx_http_cardx_is_heard(&w->listener)) {
        ngx_http_cardx_done(ctx, ngx_http_cardx_updates_worker(w));
        return;
    }

    ngx_http_cardx_updates_leave(w);

    ngx_http_cardx_done(ctx, ngx_http_cardx_updates_nothing(ctx));
}


/* It waits for nothing any more. */

static void
ngx_http_cardx_updates_leave(ngx_http_cardx_waiter_t *w)
{
    ngx_event_t  *rev;

    ngx_http_cardx_unlisten(&w->listener);

    if (w->ctx->ticket) {
        ngx_http_cardx_redis_forget(w->ctx->ticket);
    }

    rev = w->ctx->request->connection->read;

    if (rev->timer_set && w->wait) {
        ngx_del_timer(rev);
    }
}


void
ngx_http_cardx_waiter_cleanup(ngx_http_cardx_waiter_t *w)
{
    ngx_http_cardx_unlisten(&w->listener);
}


/*
 * A head in the cache is as good as in Redis, until it is dropped there and
 * so forgotten here.
 */

void
ngx_http_cardx_head_begin(ngx_http_cardx_ctx_t *ctx)
{
    char                        name[CX_NAME_MAX];
    size_t                      len;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    len = cx_head_name(name, ctx->token->user_id);

    ngx_http_cardx_cache_begin(clcf->cache, &ctx->head_fill, name, len);
}


/* The cache is open. */

void
ngx_http_cardx_head_find(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_cache_t *cache)
{
    size_t     len;
    time_t     expires;
    u_char     key[NGX_HTTP_CARDX_CACHE_KEY];
    ngx_str_t  value;

    len = ngx_http_cardx_cache_key(key, 'h', ctx->token->user_id, CX_ID_LEN);

    if (ngx_http_cardx_cache_find(cache, key, len, &value, &expires)
        != NGX_OK)
    {
        return;
    }

    ctx->head.data = ngx_pnalloc(ctx->request->pool, value.len);

    if (ctx->head.data == NULL) {
        return;
    }

    ngx_memcpy(ctx->head.data, value.data, value.len);
    ctx->head.len = value.len;
    ctx->head_cached = 1;
}


void
ngx_http_cardx_head_keep(ngx_http_cardx_ctx_t *ctx, redisReply *head)
{
    size_t                      len;
    u_char                      key[NGX_HTTP_CARDX_CACHE_KEY];
    uint64_t                    bound;
    ngx_str_t                   value;
    cx_position_t               position;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    if (clcf->cache == NULL
        || cx_head_read(head->str, head->len, &position, &bound) != 0)
    {
        /* a worker is finding it out */

        return;
    }

    len = ngx_http_cardx_cache_key(key, 'h', ctx->token->user_id, CX_ID_LEN);

    value.len = head->len;
    value.data = (u_char *) head->str;

    ngx_http_cardx_cache_store(clcf->cache, &ctx->head_fill, key, len, 0,
                               &value, 1);
}
