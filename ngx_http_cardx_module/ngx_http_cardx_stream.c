
/*
 * Sending a stream's events, its beats, and its end.
 *
 * The timer of the read event, which nothing else uses in a request that has
 * no body, beats, and ends the stream with its token.
 */


#include "ngx_http_cardx_stream.h"


/* a client that is further behind is let go */
#define NGX_HTTP_CARDX_PENDING    65536

/* ms until a client comes back, or a stream asks again what no worker could
 * tell it: not all of them together */
#define NGX_HTTP_CARDX_RETRY      1000
#define NGX_HTTP_CARDX_RETRY_MORE 4000


static void ngx_http_cardx_stream_free_headers(ngx_http_cardx_stream_t *s);
static ngx_int_t ngx_http_cardx_stream_fit_headers(
    ngx_http_cardx_stream_t *s);
static void ngx_http_cardx_stream_move_headers(ngx_http_headers_in_t *in,
    ngx_table_elt_t *elts, ngx_uint_t n, ngx_table_elt_t *to);
static void ngx_http_cardx_stream_move_header(ngx_table_elt_t **h,
    ngx_table_elt_t *elts, ngx_uint_t n, ngx_table_elt_t *to);
static ngx_uint_t ngx_http_cardx_stream_delay(void);
static ngx_int_t ngx_http_cardx_stream_flush(ngx_http_cardx_stream_t *s,
    ngx_chain_t *out);
static void ngx_http_cardx_stream_free_texts(ngx_chain_t *cl);


ngx_int_t
ngx_http_cardx_stream_start(ngx_http_cardx_stream_t *s)
{
    u_char              *p, text[128];
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    if (s->started) {
        return NGX_OK;
    }

    r = s->ctx->request;

    r->headers_out.status = NGX_HTTP_OK;
    ngx_http_clear_content_length(r);

    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_cardx_no_store(r) != NGX_OK) {
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

    ngx_http_cardx_stream_free_headers(s);

    if (ngx_http_cardx_stream_fit_headers(s) != NGX_OK) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(text, "retry: %ui\n", ngx_http_cardx_stream_delay());

    if (!s->catching) {
        p = ngx_sprintf(p, "id: %*s.%uL\n", (size_t) CX_LOG_EPOCH_LEN,
                        s->epoch, s->xid);
    }

    *p++ = LF;

    return ngx_http_cardx_stream_send(s, text, p - text, 1);
}


/*
 * The header has gone out: its list, with room for twenty, is a seventh of what
 * a stream that waits takes.  It can be given back where the request's pool is
 * smaller than the list.  Nothing may point into it any more; a header that
 * somebody adds from here on goes nowhere.
 */

static void
ngx_http_cardx_stream_free_headers(ngx_http_cardx_stream_t *s)
{
    ngx_http_request_t      *r;
    ngx_http_headers_out_t  *out;
    static ngx_table_elt_t   none;

    r = s->ctx->request;
    out = &r->headers_out;

    if (out->headers.part.next
        || ngx_pfree(r->pool, out->headers.part.elts) != NGX_OK)
    {
        return;
    }

    out->server = NULL;
    out->date = NULL;
    out->content_length = NULL;
    out->content_encoding = NULL;
    out->location = NULL;
    out->refresh = NULL;
    out->last_modified = NULL;
    out->content_range = NULL;
    out->accept_ranges = NULL;
    out->www_authenticate = NULL;
    out->expires = NULL;
    out->etag = NULL;
    ngx_memzero(&out->cache_control, sizeof(out->cache_control));
    ngx_memzero(&out->link, sizeof(out->link));

    out->headers.part.elts = &none;
    out->headers.part.nelts = 0;
    out->headers.nalloc = 1;
}


/*
 * Nor does the request's list, which is as long, keep more than what came: the
 * log and subrequests read it until the end.
 */

static ngx_int_t
ngx_http_cardx_stream_fit_headers(ngx_http_cardx_stream_t *s)
{
    ngx_list_t          *list;
    ngx_uint_t           n;
    ngx_table_elt_t     *elts, *to;
    ngx_http_request_t  *r;

    r = s->ctx->request;
    list = &r->headers_in.headers;
    n = list->part.nelts;

    if (list->part.next || n == 0 || n == list->nalloc
        || list->nalloc * list->size <= r->pool->max)
    {
        return NGX_OK;
    }

    elts = list->part.elts;

    to = ngx_pmemalign(r->pool, n * list->size, NGX_ALIGNMENT);
    if (to == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(to, elts, n * list->size);

    ngx_http_cardx_stream_move_headers(&r->headers_in, elts, n, to);

    list->part.elts = to;
    list->nalloc = n;

    return ngx_pfree(r->pool, elts) == NGX_OK ? NGX_OK : NGX_ERROR;
}


/* What points to one of the elements now points to its copy. */

static void
ngx_http_cardx_stream_move_headers(ngx_http_headers_in_t *in,
    ngx_table_elt_t *elts, ngx_uint_t n, ngx_table_elt_t *to)
{
    ngx_uint_t           i;
    ngx_http_header_t   *known;
#if (nginx_version < 1023000)
    ngx_table_elt_t    **h;
#endif

    for (known = ngx_http_headers_in; known->name.len; known++) {
        ngx_http_cardx_stream_move_header(
            (ngx_table_elt_t **) ((char *) in + known->offset), elts, n, to);
    }

#if (nginx_version >= 1023000)

    for (i = 0; i < n; i++) {
        ngx_http_cardx_stream_move_header(&to[i].next, elts, n, to);
    }

#else

    h = in->cookies.elts;

    for (i = 0; i < in->cookies.nelts; i++) {
        ngx_http_cardx_stream_move_header(&h[i], elts, n, to);
    }

#if (NGX_HTTP_X_FORWARDED_FOR)

    h = in->x_forwarded_for.elts;

    for (i = 0; i < in->x_forwarded_for.nelts; i++) {
        ngx_http_cardx_stream_move_header(&h[i], elts, n, to);
    }

#endif

#endif
}


static void
ngx_http_cardx_stream_move_header(ngx_table_elt_t **h, ngx_table_elt_t *elts,
    ngx_uint_t n, ngx_table_elt_t *to)
{
    if (*h >= elts && *h < elts + n) {
        *h = to + (*h - elts);
    }
}


static ngx_uint_t
ngx_http_cardx_stream_delay(void)
{
    return NGX_HTTP_CARDX_RETRY + ngx_random() % NGX_HTTP_CARDX_RETRY_MORE;
}


/*
 * A buffer that was sent is used again.  What is copied stands on the heap
 * until it is sent: a stream that waits, as most do, keeps no text.  What is
 * not stands in the subrequest's pool; its buffer has no start.
 */

ngx_int_t
ngx_http_cardx_stream_send(ngx_http_cardx_stream_t *s, u_char *data,
    size_t len, ngx_uint_t copy)
{
    u_char              *text;
    size_t               pending;
    ngx_buf_t           *b;
    ngx_chain_t         *cl;
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

    cl = s->free;

    if (cl) {
        s->free = cl->next;
        b = cl->buf;

    } else {
        cl = ngx_alloc_chain_link(r->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        b = ngx_calloc_buf(r->pool);
        if (b == NULL) {
            return NGX_ERROR;
        }

        cl->buf = b;
    }

    text = NULL;

    if (copy) {
        text = ngx_alloc(len, r->connection->log);
        if (text == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(text, data, len);
        data = text;
    }

    b->start = text;
    b->end = text ? text + len : NULL;
    b->pos = data;
    b->last = data + len;
    b->memory = 1;
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

    ngx_http_cardx_stream_free_texts(s->free);

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
ngx_http_cardx_stream_free_texts(ngx_chain_t *cl)
{
    for ( /* void */ ; cl; cl = cl->next) {

        if (cl->buf->start) {
            ngx_free(cl->buf->start);
            cl->buf->start = NULL;
        }
    }
}


void
ngx_http_cardx_stream_timer(ngx_http_cardx_stream_t *s)
{
    ngx_msec_t                  ms;
    ngx_msec_int_t              left;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(s->ctx->request,
                                        ngx_http_cardx_module);

    ms = clcf->heartbeat;

    if (s->later) {
        ms = ngx_min(ms, ngx_http_cardx_stream_delay());
    }

    left = (ngx_msec_int_t) (s->expires - ngx_time()) * 1000;

    if (left < (ngx_msec_int_t) ms) {
        ms = (left > 0) ? (ngx_msec_t) left : 1;
    }

    ngx_add_timer(s->ctx->request->connection->read, ms);
}


void
ngx_http_cardx_stream_read(ngx_http_request_t *r)
{
    ngx_event_t              *rev;
    ngx_http_cardx_ctx_t     *ctx;
    ngx_http_cardx_stream_t  *s;
    static u_char             beat[] = ":\n\n";

    rev = r->connection->read;

    ctx = ngx_http_cardx_get_ctx(r);
    s = ctx->stream;

    if (!rev->timedout) {

        /* a worker that has been asked is not spared: the turn is kept, else
         * who comes and leaves would fill the queue */

        if (s->sr == NULL) {
            ngx_http_test_reading(r);
        }

        return;
    }

    rev->timedout = 0;

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

    if (s->later) {
        s->later = 0;
        ngx_http_cardx_listen_again(&s->listener);
    }

    ngx_http_cardx_stream_timer(s);
}


/* There is room to send, or a subrequest is done. */

void
ngx_http_cardx_stream_write(ngx_http_request_t *r)
{
    ngx_connection_t         *c;
    ngx_http_cardx_ctx_t     *ctx;
    ngx_http_cardx_stream_t  *s;

    ctx = ngx_http_cardx_get_ctx(r);
    s = ctx->stream;
    c = r->connection;

    if (c->write->timedout) {
        c->timedout = 1;
        ngx_http_cardx_stream_fail(s, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (s->done) {
        ngx_http_cardx_stream_take(s);
        return;
    }

    /* of what filters and TLS have taken over no buffer tells */

    if (!s->started || (s->busy == NULL && !c->buffered && !r->buffered)) {
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

void
ngx_http_cardx_stream_end(ngx_http_cardx_stream_t *s)
{
    ngx_http_cardx_stream_fail(s, NGX_OK);
}


void
ngx_http_cardx_stream_fail(ngx_http_cardx_stream_t *s, ngx_int_t rc)
{
    ngx_http_request_t  *r;

    r = s->ctx->request;

    ngx_http_cardx_unlisten(&s->listener);

    if (s->ctx->ticket) {
        ngx_http_cardx_redis_forget(s->ctx->ticket);
    }

    /* nothing of this is called any more */

    if (r->connection->read->timer_set) {
        ngx_del_timer(r->connection->read);
    }

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


void
ngx_http_cardx_stream_free_pool(ngx_http_cardx_stream_t *s)
{
    if (s->pool) {
        ngx_destroy_pool(s->pool);
        s->pool = NULL;
    }
}


/* Not in the request's own cleanup, which may be called from within the
 * subrequest. */

void
ngx_http_cardx_stream_pool_cleanup(void *data)
{
    ngx_http_cardx_stream_t  *s = data;

    ngx_http_cardx_stream_free_pool(s);
    ngx_http_cardx_stream_free_texts(s->free);
    ngx_http_cardx_stream_free_texts(s->busy);
}
