
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
 */


#include "ngx_http_cardx_stream.h"


/* of one line of a message */
#define NGX_HTTP_CARDX_EVENTS_MAX  16


static ngx_int_t ngx_http_cardx_stream_position(ngx_http_request_t *r,
    ngx_http_cardx_stream_t *s);
static ngx_uint_t ngx_http_cardx_stream_is_behind(
    ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_wake(ngx_http_cardx_listener_t *l,
    const char *epoch, cx_wake_t wake, ngx_uint_t serial);
static void ngx_http_cardx_stream_again(ngx_http_cardx_listener_t *l);
static void ngx_http_cardx_stream_exit(ngx_http_cardx_listener_t *l);
static void ngx_http_cardx_stream_turn(ngx_http_cardx_listener_t *l);
static void ngx_http_cardx_stream_ask(ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_reply(ngx_http_cardx_ctx_t *ctx,
    redisReply *reply);
static void ngx_http_cardx_stream_catch_up(ngx_http_cardx_stream_t *s);
static ngx_int_t ngx_http_cardx_stream_caught(ngx_http_request_t *r,
    void *data, ngx_int_t rc);


static const ngx_http_cardx_listener_calls_t  ngx_http_cardx_stream_calls = {
    ngx_http_cardx_stream_wake,
    ngx_http_cardx_stream_again,
    ngx_http_cardx_stream_exit,
    ngx_http_cardx_stream_turn
};


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

    if (ctx->token == NULL || ctx->auth == NGX_HTTP_CARDX_AUTH_REFUSED) {

        /* a subrequest, or another rule has let it pass ("satisfy any") */

        if (r->headers_out.www_authenticate) {
            r->headers_out.www_authenticate->hash = 1;
        }

        return NGX_HTTP_UNAUTHORIZED;
    }

    if (r->discard_body) {

        /* a body that is still to come has the read event, and so a stream
         * no beats, no end, and does not notice that its client has left */

        return NGX_HTTP_BAD_REQUEST;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    s = ngx_pcalloc(r->pool, sizeof(ngx_http_cardx_stream_t));
    if (s == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s->ctx = ctx;
    s->listener.calls = &ngx_http_cardx_stream_calls;

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


/*
 * Where it is will be told by Redis or a worker, which it may have to wait its
 * turn for; nothing is sent until then, least of all before the header, which
 * HTTP/2 would write into the connection as it is.
 */

static ngx_uint_t
ngx_http_cardx_stream_is_behind(ngx_http_cardx_stream_t *s)
{
    return s->asking || s->catching || s->listener.waiting;
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

    if (ngx_http_cardx_stream_is_behind(s)) {
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

    if (s->later) {
        return;
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

    if (ngx_http_cardx_stream_is_behind(s)) {
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


static void
ngx_http_cardx_stream_turn(ngx_http_cardx_listener_t *l)
{
    ngx_connection_t         *c;
    ngx_http_cardx_stream_t  *s;

    s = (ngx_http_cardx_stream_t *) l;
    c = s->ctx->request->connection;

    ngx_http_cardx_stream_catch_up(s);

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
    s->later = 0;

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

    if (ctx->auth != NGX_HTTP_CARDX_AUTH_VERIFIED || reply->elements != 3) {

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
    u_char                      *p;
    ngx_int_t                    rc;
    ngx_str_t                    args;
    ngx_pool_t                  *pool;
    ngx_http_request_t          *r;
    ngx_http_variable_value_t   *variables;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_cardx_loc_conf_t   *clcf;
    ngx_http_post_subrequest_t  *post;

    if (!ngx_http_cardx_take_turn(&s->listener)) {
        return;
    }

    r = s->ctx->request;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);
    cmcf = ngx_http_get_module_main_conf(r, ngx_http_core_module);

    ngx_http_cardx_stream_count(s, catches);

    s->missed = 0;
    s->later = 0;
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

    post = ngx_palloc(s->pool, sizeof(ngx_http_post_subrequest_t));
    if (post == NULL) {
        goto failed;
    }

    post->handler = ngx_http_cardx_stream_caught;
    post->data = s;

    pool = r->pool;
    r->pool = s->pool;

    rc = ngx_http_subrequest(r, &clcf->changes, &args, &s->sr, post,
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

void
ngx_http_cardx_stream_take(ngx_http_cardx_stream_t *s)
{
    u_char              *p, *line, *last;
    time_t               expires;
    ngx_int_t            rc;
    ngx_buf_t           *b;
    cx_position_t        position;
    ngx_http_request_t  *sr;

    sr = s->sr;

    s->sr = NULL;
    s->done = 0;

    ngx_http_cardx_end_turn(&s->listener);

    /* whether the client has left meanwhile */

    ngx_post_event(s->ctx->request->connection->read, &ngx_posted_events);

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

    if (!s->started || s->ctx->auth == NGX_HTTP_CARDX_AUTH_REFUSED) {
        ngx_http_cardx_stream_fail(s, NGX_HTTP_SERVICE_UNAVAILABLE);
        return;
    }

    /* it would only come back to be served by the same workers */

    s->more = 0;
    s->later = 1;

    ngx_http_cardx_stream_free_pool(s);
    ngx_http_cardx_stream_settled(s);
}


/* Up to date, for all that is known. */

void
ngx_http_cardx_stream_settled(ngx_http_cardx_stream_t *s)
{
    s->catching = 0;

    if (s->ctx->request->header_only) {
        ngx_http_cardx_stream_end(s);
        return;
    }

    ngx_http_cardx_stream_timer(s);

    if (s->more) {
        s->more = 0;
        ngx_http_cardx_stream_catch_up(s);
        return;
    }

    if (s->missed && !s->later) {
        s->missed = 0;
        ngx_http_cardx_listen_again(&s->listener);
    }
}
