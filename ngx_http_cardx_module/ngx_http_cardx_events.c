
/*
 * Streams of server-sent events (F9): what changes for a user, as it changes.
 *
 * A stream knows a position in the user's log (core/cx_changes.h) below which
 * its client has been told everything.  A message tells of changes, and of the
 * one before them: if the position is past that one, nothing is between, and
 * they are sent on as they are.  Else, and whenever something may have been
 * missed, the token, its terminal and the user's head are asked for, and if
 * the head is past the position, a worker gives what is between, in a
 * subrequest (cardx_changes).
 *
 *     joined ---asked---> up to date <------> catching up
 *
 * What messages bring while a stream asks or catches up is not kept: it asks
 * once more when it is done.
 *
 * The timer of the read event, which nothing else uses in a request that has
 * no body, beats, and ends the stream with its token.
 */


#include "ngx_http_cardx.h"


/* of what is sent at once, a change needs less than */
#define NGX_HTTP_CARDX_EVENT      320
#define NGX_HTTP_CARDX_EVENTS_MAX 16

/* a client that reads slower than that is behind by, is let go */
#define NGX_HTTP_CARDX_PENDING    65536

/* ms until a client comes back: not all of them together */
#define NGX_HTTP_CARDX_RETRY      1000
#define NGX_HTTP_CARDX_RETRY_MORE 4000


#define ngx_http_cardx_stream_count(s, counter)                               \
    (void) ngx_atomic_fetch_add(                                              \
        &((ngx_http_cardx_main_conf_t *) ngx_http_get_module_main_conf(       \
            (s)->ctx->request, ngx_http_cardx_module))->counters->counter, 1)


struct ngx_http_cardx_stream_s {
    ngx_http_cardx_listener_t        listener;
    ngx_http_cardx_ctx_t            *ctx;

    char                             epoch[CX_LOG_EPOCH_LEN];
    uint64_t                         xid;
    u_char                          *since;    /* a longer position, or NULL */
    size_t                           since_len;
    ngx_str_t                        ticket;   /* of the address, or empty */
    time_t                           expires;

    ngx_chain_t                     *free;
    ngx_chain_t                     *busy;

    ngx_http_post_subrequest_t       post;
    ngx_pool_t                      *pool;     /* of the subrequest */
    ngx_http_request_t              *sr;

    unsigned                         known:1;    /* epoch and xid are set */
    unsigned                         started:1;  /* the header is sent */
    unsigned                         asking:1;
    unsigned                         catching:1; /* until all is sent */
    unsigned                         done:1;     /* the subrequest is */
    unsigned                         failed:1;
    unsigned                         more:1;
    unsigned                         missed:1;   /* ask again after that */
};


static ngx_int_t ngx_http_cardx_stream_position(ngx_http_request_t *r,
    ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_wake(ngx_http_cardx_listener_t *l,
    const char *epoch, cx_wake_t wake, ngx_uint_t serial);
static void ngx_http_cardx_stream_again(ngx_http_cardx_listener_t *l);
static void ngx_http_cardx_stream_exit(ngx_http_cardx_listener_t *l);

static void ngx_http_cardx_stream_ask(ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static void ngx_http_cardx_stream_catch_up(ngx_http_cardx_stream_t *s);
static ngx_int_t ngx_http_cardx_stream_caught(ngx_http_request_t *r,
    void *data, ngx_int_t rc);
static void ngx_http_cardx_stream_take(ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_settled(ngx_http_cardx_stream_t *s);

static ngx_int_t ngx_http_cardx_stream_start(ngx_http_cardx_stream_t *s);
static ngx_int_t ngx_http_cardx_stream_send(ngx_http_cardx_stream_t *s,
    u_char *data, size_t len, ngx_uint_t copy);
static ngx_int_t ngx_http_cardx_stream_flush(ngx_http_cardx_stream_t *s,
    ngx_chain_t *out);
static void ngx_http_cardx_stream_timer(ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_read(ngx_http_request_t *r);
static void ngx_http_cardx_stream_write(ngx_http_request_t *r);
static void ngx_http_cardx_stream_end(ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_fail(ngx_http_cardx_stream_t *s,
    ngx_int_t rc);
static void ngx_http_cardx_stream_free_pool(ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_pool_cleanup(void *data);


ngx_int_t
ngx_http_cardx_events_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_pool_cleanup_t         *cln;
    ngx_http_cardx_ctx_t       *ctx;
    ngx_http_cardx_stream_t    *s;
    ngx_http_cardx_loc_conf_t  *clcf;

    ctx = NULL;

    rc = ngx_http_cardx_begin(r, NGX_HTTP_CARDX_EVENTS, &ctx);

    if (rc != NGX_OK || ctx == NULL) {
        return rc;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    s = ngx_pcalloc(r->pool, sizeof(ngx_http_cardx_stream_t));
    if (s == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s->ctx = ctx;
    s->listener.wake = ngx_http_cardx_stream_wake;
    s->listener.ask = ngx_http_cardx_stream_again;
    s->listener.exit = ngx_http_cardx_stream_exit;

    (void) ngx_http_arg(r, (u_char *) "ticket", sizeof("ticket") - 1,
                        &s->ticket);

    if (ngx_http_cardx_stream_position(r, s) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = ngx_http_cardx_stream_pool_cleanup;
    cln->data = s;

    ctx->stream = s;

    /* before anything is asked: what changes from now on is heard */

    if (ngx_http_cardx_listen(clcf->redis, &s->listener, ctx->token->user_id)
        != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->read_event_handler = ngx_http_cardx_stream_read;
    r->write_event_handler = ngx_http_cardx_stream_write;

    r->main->count++;

    ngx_http_cardx_stream_ask(s);

    return NGX_DONE;
}


/*
 * Last-Event-ID, whatever it says: what is no position at all is given to the
 * worker as one that was never given.
 */

static ngx_int_t
ngx_http_cardx_stream_position(ngx_http_request_t *r,
    ngx_http_cardx_stream_t *s)
{
    cx_position_t     position;
    ngx_table_elt_t  *h;
    static ngx_str_t  name = ngx_string("last-event-id");

    h = ngx_http_cardx_find_header(r, &name, NULL);

    if (h == NULL || h->value.len == 0) {
        return NGX_OK;
    }

    if (cx_position_read((char *) h->value.data, h->value.len, &position)
        == 0)
    {
        if (position.kind.len == 0) {
            ngx_memcpy(s->epoch, position.epoch, CX_LOG_EPOCH_LEN);
            s->xid = position.xid;
            s->known = 1;
            return NGX_OK;
        }

        s->since_len = h->value.len;

    } else {
        s->since_len = 1;
    }

    s->since = ngx_pnalloc(r->pool, CX_POSITION_MAX);
    if (s->since == NULL) {
        return NGX_ERROR;
    }

    if (s->since_len == 1) {
        s->since[0] = '-';

    } else {
        ngx_memcpy(s->since, h->value.data, s->since_len);
    }

    return NGX_OK;
}


/*
 * The text of a line's changes from a position on; NULL: it can't be told from
 * the line.  Most streams of a user are at the same position: the text is made
 * once for them.
 */

static ngx_str_t *
ngx_http_cardx_stream_text(ngx_http_cardx_stream_t *s, const char *epoch,
    cx_wake_t wake, ngx_uint_t serial)
{
    u_char             *p;
    ngx_int_t           rc;
    ngx_uint_t          i, n;
    cx_change_t         changes[NGX_HTTP_CARDX_EVENTS_MAX + 1], *c;
    static uint64_t     from;
    static ngx_str_t    text;
    static ngx_uint_t   made;
    static u_char       buffer[NGX_HTTP_CARDX_EVENTS_MAX
                               * NGX_HTTP_CARDX_EVENT];

    if (made == serial && from == s->xid) {
        return &text;
    }

    made = 0;
    n = 0;

    for ( ;; ) {
        c = &changes[n];
        rc = cx_wake_change(&wake, c);

        if (rc == 0) {
            break;
        }

        if (rc < 0
            || c->kind.len + c->op.len + c->object.len > 96
            || ++n > NGX_HTTP_CARDX_EVENTS_MAX)
        {
            return NULL;
        }
    }

    p = buffer;

    for (i = 0; i < n; i++) {
        c = &changes[i];

        if (c->xid < s->xid) {
            continue;
        }

        /* past its transaction, unless that has more of them */

        if (i + 1 < n && c->xid == changes[i + 1].xid) {
            p = ngx_sprintf(p, "id: %*s.%uL.%*s.%*s\n",
                            (size_t) CX_LOG_EPOCH_LEN, epoch, c->xid,
                            c->kind.len, c->kind.text,
                            c->object.len, c->object.text);

        } else {
            p = ngx_sprintf(p, "id: %*s.%uL\n",
                            (size_t) CX_LOG_EPOCH_LEN, epoch, c->xid + 1);
        }

        p = ngx_sprintf(p, "event: change\n"
                        "data: {\"kind\":\"%*s\",\"id\":\"%*s\","
                        "\"op\":\"%*s\"}\n\n",
                        c->kind.len, c->kind.text,
                        c->object.len, c->object.text,
                        c->op.len, c->op.text);
    }

    made = serial;
    from = s->xid;
    text.data = buffer;
    text.len = p - buffer;

    return &text;
}


/* The xid of a line's last change, 0 if it does not tell. */

uint64_t
ngx_http_cardx_wake_last(cx_wake_t wake)
{
    uint64_t     xid;
    cx_change_t  change;

    xid = 0;

    while (cx_wake_change(&wake, &change) == 1) {
        xid = change.xid;
    }

    return xid;
}


static void
ngx_http_cardx_stream_wake(ngx_http_cardx_listener_t *l, const char *epoch,
    cx_wake_t wake, ngx_uint_t serial)
{
    uint64_t                  last;
    ngx_str_t                *text;
    ngx_connection_t         *c;
    ngx_http_cardx_stream_t  *s;

    s = (ngx_http_cardx_stream_t *) l;
    c = s->ctx->request->connection;

    if (wake.terminal_id) {

        if (wake.terminal_id == s->ctx->token->terminal_id) {
            s->ctx->auth = NGX_HTTP_CARDX_AUTH_REFUSED;
            ngx_http_cardx_stream_end(s);
            ngx_http_run_posted_requests(c);
        }

        return;
    }

    if (s->asking || s->catching) {
        s->missed = 1;
        return;
    }

    last = ngx_http_cardx_wake_last(wake);

    if (last && ngx_memcmp(epoch, s->epoch, CX_LOG_EPOCH_LEN) == 0) {

        if (last < s->xid) {
            return;
        }

        if (wake.after < s->xid) {
            text = ngx_http_cardx_stream_text(s, epoch, wake, serial);

            if (text) {
                s->xid = last + 1;
                ngx_http_cardx_stream_count(s, events);

                if (ngx_http_cardx_stream_send(s, text->data, text->len, 1)
                    != NGX_OK)
                {
                    ngx_http_cardx_stream_fail(s, NGX_ERROR);
                }

                ngx_http_run_posted_requests(c);
                return;
            }
        }
    }

    ngx_http_cardx_stream_catch_up(s);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_cardx_stream_again(ngx_http_cardx_listener_t *l)
{
    ngx_connection_t         *c;
    ngx_http_cardx_stream_t  *s;

    s = (ngx_http_cardx_stream_t *) l;
    c = s->ctx->request->connection;

    if (s->asking || s->catching) {
        s->missed = 1;
        return;
    }

    ngx_http_cardx_stream_ask(s);

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_cardx_stream_exit(ngx_http_cardx_listener_t *l)
{
    ngx_connection_t         *c;
    ngx_http_cardx_stream_t  *s;

    s = (ngx_http_cardx_stream_t *) l;
    c = s->ctx->request->connection;

    ngx_http_cardx_stream_end(s);

    ngx_http_run_posted_requests(c);
}


/* Whether the token is still good, and whether there is anything new. */

static void
ngx_http_cardx_stream_ask(ngx_http_cardx_stream_t *s)
{
    u_char                      command[NGX_HTTP_CARDX_COMMAND];
    size_t                      len;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(s->ctx->request,
                                        ngx_http_cardx_module);

    s->missed = 0;

    len = ngx_http_cardx_auth_command(command, s->ctx->token, 1);

    if (ngx_http_cardx_redis_ask(s->ctx, clcf->redis,
                                 ngx_http_cardx_stream_reply, command, len)
        == NGX_OK)
    {
        s->asking = 1;
        return;
    }

    ngx_http_cardx_stream_reply(s->ctx, NULL);
}


static void
ngx_http_cardx_stream_reply(ngx_http_cardx_ctx_t *ctx, redisReply *reply)
{
    ngx_int_t                 rc;
    redisReply               *head;
    uint64_t                  bound;
    cx_position_t             position;
    ngx_http_cardx_stream_t  *s;

    s = ctx->stream;
    s->asking = 0;

    ctx->auth = ngx_http_cardx_auth_judge(reply);

    if (ctx->auth == NGX_HTTP_CARDX_AUTH_REFUSED) {
        ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_REFUSED);
        ngx_http_cardx_stream_end(s);
        return;
    }

    if (ctx->auth != NGX_HTTP_CARDX_AUTH_VERIFIED) {

        /* a worker knows, if not now then soon */

        ngx_http_cardx_stream_catch_up(s);
        return;
    }

    s->expires = ngx_atotm((u_char *) reply->element[0]->str,
                           reply->element[0]->len);

    head = reply->element[2];

    if (head->type == REDIS_REPLY_STRING
        && !s->known && s->since == NULL
        && cx_head_read(head->str, head->len, &position, &bound) == 0)
    {
        ngx_memcpy(s->epoch, position.epoch, CX_LOG_EPOCH_LEN);
        s->xid = position.xid;
        s->known = 1;
    }

    if (head->type == REDIS_REPLY_STRING && s->known && s->since == NULL) {

        ngx_memcpy(position.epoch, s->epoch, CX_LOG_EPOCH_LEN);
        position.xid = s->xid;
        position.kind.len = 0;

        if (cx_position_is_new(&position, head->str, head->len)) {

            rc = ngx_http_cardx_stream_start(s);

            if (rc != NGX_OK) {
                ngx_http_cardx_stream_fail(s, rc);
                return;
            }

            ngx_http_cardx_stream_settled(s);
            return;
        }
    }

    ngx_http_cardx_stream_catch_up(s);
}


/*
 * What is between: a subrequest in a pool of its own, which goes when all of
 * it is sent.  It has its own variables, so that none is left that points into
 * that pool.
 */

static void
ngx_http_cardx_stream_catch_up(ngx_http_cardx_stream_t *s)
{
    u_char                     *p;
    ngx_int_t                   rc;
    ngx_str_t                   args;
    ngx_pool_t                 *pool;
    ngx_http_request_t         *r;
    ngx_http_variable_value_t  *variables;
    ngx_http_core_main_conf_t  *cmcf;
    ngx_http_cardx_loc_conf_t  *clcf;

    r = s->ctx->request;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    ngx_http_cardx_stream_count(s, catches);

    s->missed = 0;
    s->catching = 1;
    s->done = 0;
    s->failed = 0;

    s->pool = ngx_create_pool(4096, r->connection->log);
    if (s->pool == NULL) {
        goto failed;
    }

    args.data = ngx_pnalloc(s->pool, sizeof("since=&ticket=") + CX_POSITION_MAX
                                     + s->ticket.len);
    if (args.data == NULL) {
        goto failed;
    }

    p = args.data;

    if (s->since) {
        p = ngx_sprintf(p, "since=%*s", s->since_len, s->since);

    } else if (s->known) {
        p = ngx_sprintf(p, "since=%*s.%uL", (size_t) CX_LOG_EPOCH_LEN,
                        s->epoch, s->xid);
    }

    if (s->ticket.len) {
        p = ngx_sprintf(p, "&ticket=%V", &s->ticket);
    }

    args.len = p - args.data;

    variables = ngx_pcalloc(s->pool, cmcf->variables.nelts
                                     * sizeof(ngx_http_variable_value_t));
    if (variables == NULL) {
        goto failed;
    }

    s->post.handler = ngx_http_cardx_stream_caught;
    s->post.data = s;

    pool = r->pool;
    r->pool = s->pool;

    rc = ngx_http_subrequest(r, &clcf->changes, &args, &s->sr, &s->post,
                             NGX_HTTP_SUBREQUEST_IN_MEMORY
                             |NGX_HTTP_SUBREQUEST_BACKGROUND);
    r->pool = pool;

    if (rc == NGX_OK) {
        s->sr->variables = variables;
        return;
    }

failed:

    ngx_http_cardx_stream_fail(s, NGX_HTTP_INTERNAL_SERVER_ERROR);
}


/* The request itself goes on in its own time: this is in the midst of the
 * other's end. */

static ngx_int_t
ngx_http_cardx_stream_caught(ngx_http_request_t *r, void *data, ngx_int_t rc)
{
    ngx_http_cardx_stream_t  *s = data;

    if (r != s->sr || s->done) {
        return rc;
    }

    s->done = 1;
    s->failed = (rc != NGX_OK || r->headers_out.status != NGX_HTTP_OK
                 || r->out == NULL);

    if (r->headers_out.status == NGX_HTTP_UNAUTHORIZED) {
        s->ctx->auth = NGX_HTTP_CARDX_AUTH_REFUSED;
    }

    if (ngx_http_post_request(r->main, NULL) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* "<expires> <more> <position>" in a line, then what is to be sent. */

static void
ngx_http_cardx_stream_take(ngx_http_cardx_stream_t *s)
{
    u_char         *p, *line, *last;
    time_t          expires;
    ngx_int_t       rc;
    ngx_buf_t      *b;
    cx_position_t   position;
    ngx_http_request_t *sr;

    sr = s->sr;

    s->sr = NULL;
    s->done = 0;

    if (s->failed) {
        goto failed;
    }

    b = sr->out->buf;
    last = b->last;

    p = ngx_strlchr(b->pos, last, LF);
    line = ngx_strlchr(b->pos, last, ' ');

    if (p == NULL || line == NULL || p - line < 4) {
        goto failed;
    }

    expires = ngx_atotm(b->pos, line - b->pos);

    if (expires == NGX_ERROR) {
        goto failed;
    }

    if (expires) {
        s->expires = expires;
        s->ctx->auth = NGX_HTTP_CARDX_AUTH_VERIFIED;
    }

    s->more = (line[1] == '1');
    line += 3;

    if (cx_position_read((char *) line, p - line, &position) != 0) {
        goto failed;
    }

    ngx_memcpy(s->epoch, position.epoch, CX_LOG_EPOCH_LEN);
    s->xid = position.xid;
    s->known = 1;

    if (position.kind.len == 0) {
        s->since = NULL;

    } else {
        if (s->since == NULL) {
            s->since = ngx_pnalloc(s->ctx->request->pool, CX_POSITION_MAX);

            if (s->since == NULL) {
                goto failed;
            }
        }

        s->since_len = p - line;
        ngx_memcpy(s->since, line, s->since_len);
    }

    p++;

    rc = ngx_http_cardx_stream_start(s);

    if (rc != NGX_OK) {
        ngx_http_cardx_stream_fail(s, rc);
        return;
    }

    if (p != last && ngx_http_cardx_stream_send(s, p, last - p, 0) != NGX_OK) {
        ngx_http_cardx_stream_fail(s, NGX_ERROR);
        return;
    }

    if (s->busy == NULL) {
        ngx_http_cardx_stream_free_pool(s);
        ngx_http_cardx_stream_settled(s);
    }

    return;

failed:

    ngx_http_cardx_stream_fail(s, NGX_HTTP_SERVICE_UNAVAILABLE);
}


/* Up to date, for all that is known. */

static void
ngx_http_cardx_stream_settled(ngx_http_cardx_stream_t *s)
{
    s->catching = 0;

    if (s->ctx->request->header_only) {
        ngx_http_cardx_stream_end(s);
        return;
    }

    if (s->more) {
        s->more = 0;
        ngx_http_cardx_stream_catch_up(s);
        return;
    }

    if (s->missed) {
        s->missed = 0;
        ngx_http_cardx_listen_again(&s->listener);
    }

    ngx_http_cardx_stream_timer(s);
}


static ngx_int_t
ngx_http_cardx_stream_start(ngx_http_cardx_stream_t *s)
{
    u_char              *p, text[128];
    ngx_int_t            rc;
    ngx_http_request_t  *r;
    static ngx_str_t     cache_control = ngx_string("Cache-Control");
    static ngx_str_t     no_store = ngx_string("no-store");

    if (s->started) {
        return NGX_OK;
    }

    r = s->ctx->request;

    r->headers_out.status = NGX_HTTP_OK;
    ngx_http_clear_content_length(r);

    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_cardx_add_header(r, &cache_control, &no_store) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_cardx_count(s->ctx, NGX_HTTP_CARDX_HIT);
    ngx_http_cardx_stream_count(s, streams);

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK) {
        return rc;
    }

    s->started = 1;

    if (r->header_only) {
        return NGX_OK;
    }

    p = ngx_sprintf(text, "retry: %ui\n",
                    (ngx_uint_t) (NGX_HTTP_CARDX_RETRY
                        + ngx_random() % NGX_HTTP_CARDX_RETRY_MORE));

    if (!s->catching) {
        p = ngx_sprintf(p, "id: %*s.%uL\n", (size_t) CX_LOG_EPOCH_LEN,
                        s->epoch, s->xid);
    }

    *p++ = LF;

    return ngx_http_cardx_stream_send(s, text, p - text, 1);
}


/*
 * A buffer that was sent is used again.  What is not copied stands in the
 * subrequest's pool; its buffer has no start.
 */

static ngx_int_t
ngx_http_cardx_stream_send(ngx_http_cardx_stream_t *s, u_char *data,
    size_t len, ngx_uint_t copy)
{
    size_t               pending;
    ngx_buf_t           *b;
    ngx_chain_t         *cl, **ll;
    ngx_http_request_t  *r;

    r = s->ctx->request;

    if (r->header_only) {
        return NGX_OK;
    }

    pending = 0;

    for (cl = s->busy; cl; cl = cl->next) {
        pending += ngx_buf_size(cl->buf);
    }

    if (pending > NGX_HTTP_CARDX_PENDING) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, 0,
                      "cardx: client is too slow for its events");
        return NGX_ERROR;
    }

    for (ll = &s->free; *ll; ll = &(*ll)->next) {
        b = (*ll)->buf;

        if (!copy || (size_t) (b->end - b->start) >= len) {
            break;
        }
    }

    cl = *ll;

    if (cl) {
        *ll = cl->next;
        b = cl->buf;

    } else {
        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        b = copy ? ngx_create_temp_buf(r->pool,
                                       ngx_max(len, NGX_HTTP_CARDX_EVENT))
                 : ngx_calloc_buf(r->pool);
        if (b == NULL) {
            return NGX_ERROR;
        }

        cl->buf = b;
    }

    if (copy) {
        b->pos = b->start;
        b->last = ngx_cpymem(b->pos, data, len);

    } else {
        b->start = NULL;
        b->end = NULL;
        b->pos = data;
        b->last = data + len;
    }

    b->memory = 1;
    b->temporary = 0;
    b->flush = 1;
    b->tag = (ngx_buf_tag_t) &ngx_http_cardx_module;

    cl->next = NULL;

    return ngx_http_cardx_stream_flush(s, cl);
}


static ngx_int_t
ngx_http_cardx_stream_flush(ngx_http_cardx_stream_t *s, ngx_chain_t *out)
{
    ngx_int_t                  rc;
    ngx_event_t               *wev;
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = s->ctx->request;
    c = r->connection;
    wev = c->write;

    rc = ngx_http_output_filter(r, out);

    ngx_chain_update_chains(r->pool, &s->free, &s->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_cardx_module);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (!c->buffered && !r->buffered) {

        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

        return NGX_OK;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!wev->timer_set) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    return ngx_handle_write_event(wev, clcf->send_lowat);
}


static void
ngx_http_cardx_stream_timer(ngx_http_cardx_stream_t *s)
{
    ngx_msec_t                  ms;
    ngx_msec_int_t              left;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(s->ctx->request,
                                        ngx_http_cardx_module);

    ms = clcf->heartbeat;

    left = (ngx_msec_int_t) (s->expires - ngx_time()) * 1000;

    if (left < (ngx_msec_int_t) ms) {
        ms = (left > 0) ? (ngx_msec_t) left : 1;
    }

    ngx_add_timer(s->ctx->request->connection->read, ms);
}


static void
ngx_http_cardx_stream_read(ngx_http_request_t *r)
{
    ngx_event_t              *rev;
    ngx_http_cardx_ctx_t     *ctx;
    ngx_http_cardx_stream_t  *s;
    static u_char             beat[] = ":\n\n";

    rev = r->connection->read;

    if (!rev->timedout) {
        ngx_http_test_reading(r);
        return;
    }

    rev->timedout = 0;

    ctx = ngx_http_cardx_get_ctx(r);
    s = ctx->stream;

    if (ngx_time() >= s->expires) {
        ngx_http_cardx_stream_end(s);
        return;
    }

    if (!s->catching && s->busy == NULL
        && ngx_http_cardx_stream_send(s, beat, sizeof(beat) - 1, 1) != NGX_OK)
    {
        ngx_http_cardx_stream_fail(s, NGX_ERROR);
        return;
    }

    ngx_http_cardx_stream_timer(s);
}


/* There is room to send, or a subrequest is done. */

static void
ngx_http_cardx_stream_write(ngx_http_request_t *r)
{
    ngx_event_t              *wev;
    ngx_http_cardx_ctx_t     *ctx;
    ngx_http_cardx_stream_t  *s;

    ctx = ngx_http_cardx_get_ctx(r);
    s = ctx->stream;
    wev = r->connection->write;

    if (wev->timedout) {
        r->connection->timedout = 1;
        ngx_http_cardx_stream_fail(s, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (s->done) {
        ngx_http_cardx_stream_take(s);
        return;
    }

    if (!s->started || s->busy == NULL) {
        return;
    }

    if (ngx_http_cardx_stream_flush(s, NULL) != NGX_OK) {
        ngx_http_cardx_stream_fail(s, NGX_ERROR);
        return;
    }

    if (s->busy == NULL && s->catching && s->sr == NULL) {
        ngx_http_cardx_stream_free_pool(s);
        ngx_http_cardx_stream_settled(s);
    }
}


/* As it should: the client comes back, if it may. */

static void
ngx_http_cardx_stream_end(ngx_http_cardx_stream_t *s)
{
    ngx_http_cardx_stream_fail(s, NGX_OK);
}


static void
ngx_http_cardx_stream_fail(ngx_http_cardx_stream_t *s, ngx_int_t rc)
{
    ngx_http_request_t  *r;

    r = s->ctx->request;

    ngx_http_cardx_unlisten(&s->listener);

    if (s->ctx->ticket) {
        ngx_http_cardx_redis_forget(s->ctx->ticket);
    }

    /* nothing of this is called any more */

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    if (rc == NGX_ERROR || rc == NGX_HTTP_REQUEST_TIME_OUT) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (s->started) {
        rc = r->header_only ? NGX_OK : ngx_http_send_special(r, NGX_HTTP_LAST);
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (s->ctx->auth == NGX_HTTP_CARDX_AUTH_REFUSED) {

        rc = ngx_http_cardx_unauthorized(r);

        if (rc != NGX_DONE) {
            ngx_http_finalize_request(r, rc);
        }

        return;
    }

    ngx_http_finalize_request(r, ngx_http_cardx_unavailable(s->ctx));
}


void
ngx_http_cardx_stream_cleanup(ngx_http_cardx_stream_t *s)
{
    ngx_http_cardx_unlisten(&s->listener);
}


static void
ngx_http_cardx_stream_free_pool(ngx_http_cardx_stream_t *s)
{
    if (s->pool) {
        ngx_destroy_pool(s->pool);
        s->pool = NULL;
    }
}


/* Not in the request's own cleanup, which may be called from within the
 * subrequest. */

static void
ngx_http_cardx_stream_pool_cleanup(void *data)
{
    ngx_http_cardx_stream_free_pool(data);
}
