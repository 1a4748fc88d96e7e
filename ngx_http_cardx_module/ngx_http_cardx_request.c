
/*
 * What the hot paths share: contexts, waiting for Redis, and answers.
 */


#include "ngx_http_cardx.h"
#include "cx_etag.h"


static void ngx_http_cardx_cleanup(void *data);
static ngx_int_t ngx_http_cardx_problem(ngx_http_request_t *r,
    ngx_uint_t status, ngx_str_t *body);
static ngx_int_t ngx_http_cardx_too_many(ngx_http_cardx_ctx_t *ctx,
    ngx_uint_t seconds);


static ngx_str_t  ngx_http_cardx_problem_type =
    ngx_string("application/problem+json");

/* the same bytes, whatever the reason: a caller may not tell them apart */
static ngx_str_t  ngx_http_cardx_refused = ngx_string(CX_KEY_REFUSED_BODY);

static ngx_str_t  ngx_http_cardx_unauthorized_body = ngx_string(
    "{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401,"
    "\"detail\":\"A valid access token is required.\","
    "\"code\":\"unauthorized\"}");

static ngx_str_t  ngx_http_cardx_method_body = ngx_string(
    "{\"type\":\"about:blank\",\"title\":\"Method Not Allowed\","
    "\"status\":405,\"detail\":\"Only GET and HEAD are possible here.\","
    "\"code\":\"method_not_allowed\"}");

static ngx_str_t  ngx_http_cardx_too_many_body = ngx_string(
    "{\"type\":\"about:blank\",\"title\":\"Too Many Requests\","
    "\"status\":429,\"detail\":\"Too much was refused to this address; "
    "wait.\",\"code\":\"rate_limited\"}");

static ngx_str_t  ngx_http_cardx_unavailable_body = ngx_string(
    "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\","
    "\"status\":503,\"detail\":\"Try again in a moment.\","
    "\"code\":\"unavailable\"}");

static ngx_str_t  ngx_http_cardx_cache_control = ngx_string("Cache-Control");


/*
 * Named locations clear r->ctx, and what was found out must survive them:
 * the context can also be found by its cleanup handler.
 */

ngx_http_cardx_ctx_t *
ngx_http_cardx_get_ctx(ngx_http_request_t *r)
{
    ngx_http_cleanup_t    *cln;
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_cardx_module);

    if (ctx || !(r->internal || r->filter_finalize)) {
        return ctx;
    }

    for (cln = r->main->cleanup; cln; cln = cln->next) {

        if (cln->handler == ngx_http_cardx_cleanup) {
            ctx = cln->data;

            if (ctx->request == r) {
                ngx_http_set_ctx(r, ctx, ngx_http_cardx_module);
                return ctx;
            }
        }
    }

    return NULL;
}


ngx_http_cardx_ctx_t *
ngx_http_cardx_create_ctx(ngx_http_request_t *r)
{
    ngx_http_cleanup_t    *cln;
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_get_ctx(r);

    if (ctx) {
        return ctx;
    }

    if (r->pool != r->main->pool) {

        /* which goes before the request, and its cleanups, do */

        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "cardx_changes leads to a location of this module");
        return NULL;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_cardx_ctx_t));
    if (ctx == NULL) {
        return NULL;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = ngx_http_cardx_cleanup;
    cln->data = ctx;

    ctx->request = r;

    ngx_http_set_ctx(r, ctx, ngx_http_cardx_module);

    return ctx;
}


static void
ngx_http_cardx_cleanup(void *data)
{
    ngx_http_cardx_ctx_t  *ctx = data;

    if (ctx->ticket) {
        ngx_http_cardx_redis_forget(ctx->ticket);
    }

    ngx_http_cardx_limit_count(ctx);

    if (ctx->call) {
        ngx_http_cardx_call_end(ctx->call);
    }

    if (ctx->waiter) {
        ngx_http_cardx_waiter_cleanup(ctx->waiter);
    }

    if (ctx->stream) {
        ngx_http_cardx_stream_cleanup(ctx->stream);
    }
}


/* A hot path's first steps.  What it returns but NGX_OK is final. */

ngx_int_t
ngx_http_cardx_begin(ngx_http_request_t *r, ngx_http_cardx_path_e path,
    ngx_http_cardx_ctx_t **ctx)
{
    ngx_int_t         rc;
    static ngx_str_t  allow = ngx_string("Allow");
    static ngx_str_t  methods = ngx_string("GET, HEAD");

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {

        if (ngx_http_cardx_add_header(r, &allow, &methods) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        return ngx_http_cardx_problem(r, NGX_HTTP_NOT_ALLOWED,
                                      &ngx_http_cardx_method_body);
    }

    /* guards of changes, which workers don't look at here either */

    r->headers_in.if_match = NULL;
    r->headers_in.if_unmodified_since = NULL;

    *ctx = ngx_http_cardx_create_ctx(r);

    if (*ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    (*ctx)->path = path;
    (*ctx)->refusable = (path == NGX_HTTP_CARDX_CARD
                         || path == NGX_HTTP_CARDX_THUMBNAIL
                         || path == NGX_HTTP_CARDX_REDIRECT);

    return NGX_OK;
}


/* What follows the location's prefix in the URI. */

ngx_int_t
ngx_http_cardx_rest(ngx_http_request_t *r, ngx_str_t *rest)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (r->uri.len < clcf->name.len) {
        return NGX_DECLINED;
    }

    rest->len = r->uri.len - clcf->name.len;
    rest->data = r->uri.data + clcf->name.len;

    return NGX_OK;
}


/* name is in lower case; after is NULL or what was found before. */

ngx_table_elt_t *
ngx_http_cardx_find_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_table_elt_t *after)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        if (after) {
            if (&header[i] == after) {
                after = NULL;
            }

            continue;
        }

        if (header[i].key.len == name->len
            && ngx_memcmp(header[i].lowcase_key, name->data, name->len) == 0)
        {
            return &header[i];
        }
    }
}


/* What the client would rather have: JSON if it does not say. */

cx_form_t
ngx_http_cardx_form(ngx_http_request_t *r)
{
    cx_accept_t        accept;
    ngx_table_elt_t   *h;
    static ngx_str_t   name = ngx_string("accept");

    /* nginx has noted the first one, if it was built to */

#if (NGX_HTTP_HEADERS)
    h = r->headers_in.accept;
#else
    h = ngx_http_cardx_find_header(r, &name, NULL);
#endif

    if (h == NULL) {
        return CX_FORM_JSON;
    }

    cx_accept_init(&accept);

    do {
        cx_accept_add(&accept, (char *) h->value.data, h->value.len);
        h = ngx_http_cardx_find_header(r, &name, h);
    } while (h);

    return cx_accept_choose(&accept);
}


void
ngx_http_cardx_count(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_status_e status)
{
    ngx_http_cardx_main_conf_t  *cmcf;

    cmcf = ngx_http_get_module_main_conf(ctx->request, ngx_http_cardx_module);

    ctx->status = status;

    (void) ngx_atomic_fetch_add(&cmcf->counters->requests[ctx->path][status],
                                1);
}


/*
 * Asks Redis.  NGX_BUSY: the handler will be called; else Redis is away, and
 * what is returned is what became of the fallback.
 */

ngx_int_t
ngx_http_cardx_wait(ngx_http_cardx_ctx_t *ctx, ngx_http_cardx_reply_pt handler,
    u_char *command, size_t len)
{
    ngx_http_request_t         *r;
    ngx_http_cardx_loc_conf_t  *clcf;

    r = ctx->request;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (ngx_http_cardx_redis_ask(ctx, clcf->redis, handler, command, len)
        != NGX_OK)
    {
        return ngx_http_cardx_fall_back(ctx, NGX_HTTP_CARDX_MISS);
    }

    /* a client that goes away ends the request, and the cleanup the wait */

    if (!r->discard_body && !r->post_action) {
        r->read_event_handler = ngx_http_test_reading;
    }

    return NGX_BUSY;
}


/* In a phase that waits, as in limit_req: a client that leaves is noticed. */

ngx_int_t
ngx_http_cardx_notice_leaving(ngx_http_request_t *r)
{
    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events);

    } else if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    r->read_event_handler = ngx_http_test_reading;

    return NGX_OK;
}


/* The end of a content handler, which may have to wait, ... */

ngx_int_t
ngx_http_cardx_suspend(ngx_http_cardx_ctx_t *ctx, ngx_int_t rc)
{
    if (rc != NGX_BUSY) {
        return rc;
    }

    ctx->request->main->count++;

    return NGX_DONE;
}


/* ... for a value that the cache may keep, ... */

ngx_int_t
ngx_http_cardx_get_value(ngx_http_cardx_ctx_t *ctx, char *name, size_t len,
    ngx_http_cardx_reply_pt handler)
{
    u_char                     *p, command[NGX_HTTP_CARDX_COMMAND];
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    ngx_http_cardx_cache_begin(clcf->cache, &ctx->fill, name, len);

    p = ngx_http_cardx_command(command, 2);
    p = ngx_http_cardx_literal(p, "GET");
    p = ngx_http_cardx_argument(p, name, len);

    return ngx_http_cardx_suspend(ctx, ngx_http_cardx_wait(ctx, handler,
                                                           command,
                                                           p - command));
}


/* ... and of what it waited for, which may have to wait again. */

void
ngx_http_cardx_done(ngx_http_cardx_ctx_t *ctx, ngx_int_t rc)
{
    if (rc != NGX_BUSY) {
        ngx_http_finalize_request(ctx->request, rc);
    }
}


static ngx_table_elt_t *
ngx_http_cardx_push_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
    h->key = *name;
    h->value = *value;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return h;
}


ngx_int_t
ngx_http_cardx_add_header(ngx_http_request_t *r, ngx_str_t *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;
#if (nginx_version < 1023000)
    ngx_table_elt_t  **cc;
#endif

    h = ngx_http_cardx_push_header(r, name, value);
    if (h == NULL) {
        return NGX_ERROR;
    }

    if (name->len != ngx_http_cardx_cache_control.len
        || ngx_strncmp(name->data, ngx_http_cardx_cache_control.data,
                       name->len)
           != 0)
    {
        return NGX_OK;
    }

    /* where $sent_http_cache_control looks for it */

#if (nginx_version >= 1023000)

    r->headers_out.cache_control = h;

#else

    if (r->headers_out.cache_control.elts == NULL
        && ngx_array_init(&r->headers_out.cache_control, r->pool, 1,
                          sizeof(ngx_table_elt_t *))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    cc = ngx_array_push(&r->headers_out.cache_control);
    if (cc == NULL) {
        return NGX_ERROR;
    }

    *cc = h;

#endif

    return NGX_OK;
}


/* The last of them is empty. */

ngx_int_t
ngx_http_cardx_add_headers(ngx_http_request_t *r, ngx_keyval_t *headers)
{
    for ( /* void */ ; headers->key.len; headers++) {

        if (ngx_http_cardx_add_header(r, &headers->key, &headers->value)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* For nobody to keep. */

ngx_int_t
ngx_http_cardx_no_store(ngx_http_request_t *r)
{
    static ngx_str_t  no_store = ngx_string("no-store");

    return ngx_http_cardx_add_header(r, &ngx_http_cardx_cache_control,
                                     &no_store);
}


ngx_int_t
ngx_http_cardx_set_etag(ngx_http_request_t *r, ngx_str_t *etag)
{
    ngx_table_elt_t   *h;
    static ngx_str_t   name = ngx_string("ETag");

    h = ngx_http_cardx_push_header(r, &name, etag);
    if (h == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.etag = h;

    return NGX_OK;
}


/* data must live as long as the request. */

ngx_int_t
ngx_http_cardx_send(ngx_http_request_t *r, ngx_str_t *type, u_char *data,
    size_t len)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t   out;

    r->headers_out.content_length_n = len;

    if (type) {
        r->headers_out.content_type_len = type->len;
        r->headers_out.content_type = *type;
        r->headers_out.content_type_lowcase = NULL;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = data;
    b->last = data + len;
    b->memory = len ? 1 : 0;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;
    b->sync = (b->last_buf || b->memory) ? 0 : 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


/* A 200 whose ETag is set, or a 304 if the client has it (RFC 9110, 13.1). */

ngx_int_t
ngx_http_cardx_send_tagged(ngx_http_request_t *r, ngx_str_t *type,
    u_char *data, size_t len)
{
    ngx_str_t         etag;
    ngx_table_elt_t  *h;

    r->headers_out.status = NGX_HTTP_OK;

    etag = r->headers_out.etag->value;
    h = r->headers_in.if_none_match;

    if (r == r->main
        && h
        && cx_etag_match((char *) h->value.data, h->value.len,
                         (char *) etag.data, etag.len))
    {
        r->headers_out.status = NGX_HTTP_NOT_MODIFIED;
        r->header_only = 1;

        return ngx_http_send_header(r);
    }

    return ngx_http_cardx_send(r, type, data, len);
}


/* RFC 9457 */

static ngx_int_t
ngx_http_cardx_problem(ngx_http_request_t *r, ngx_uint_t status,
    ngx_str_t *body)
{
    r->headers_out.status = status;

    if (ngx_http_cardx_no_store(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_cardx_send(r, &ngx_http_cardx_problem_type, body->data,
                               body->len);
}


/* Somebody with a camera gets a page, which a worker makes: it is not asked
 * more often than the address may be refused. */

ngx_int_t
ngx_http_cardx_refuse(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_status_e status)
{
    ngx_uint_t                  seconds;
    ngx_http_cardx_loc_conf_t  *clcf;

    seconds = ngx_http_cardx_limited(ctx);

    if (seconds) {
        return ngx_http_cardx_too_many(ctx, seconds);
    }

    clcf = ngx_http_get_module_loc_conf(ctx->request, ngx_http_cardx_module);

    if (clcf->fallback.len
        && ngx_http_cardx_form(ctx->request) == CX_FORM_HTML)
    {
        return ngx_http_cardx_fall_back(ctx, status);
    }

    ngx_http_cardx_count(ctx, status);

    return ngx_http_cardx_problem(ctx->request, NGX_HTTP_NOT_FOUND,
                                  &ngx_http_cardx_refused);
}


static ngx_int_t
ngx_http_cardx_too_many(ngx_http_cardx_ctx_t *ctx, ngx_uint_t seconds)
{
    ngx_str_t            value;
    ngx_http_request_t  *r;
    static ngx_str_t     retry_after = ngx_string("Retry-After");

    r = ctx->request;

    ngx_http_cardx_count(ctx, NGX_HTTP_CARDX_LIMITED);

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", seconds) - value.data;

    if (ngx_http_cardx_add_header(r, &retry_after, &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ngx_http_cardx_form(r) == CX_FORM_HTML) {
        return ngx_http_cardx_page_too_many(r);
    }

    return ngx_http_cardx_problem(r, NGX_HTTP_TOO_MANY_REQUESTS,
                                  &ngx_http_cardx_too_many_body);
}


ngx_int_t
ngx_http_cardx_unauthorized(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    ngx_table_elt_t           *h;
    ngx_http_core_loc_conf_t  *clcf;
    static ngx_str_t           name = ngx_string("WWW-Authenticate");
    static ngx_str_t           value = ngx_string("Bearer");

    h = ngx_http_cardx_push_header(r, &name, &value);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.www_authenticate = h;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->satisfy == NGX_HTTP_SATISFY_ANY) {

        /* somebody else may still let it pass */

        return NGX_HTTP_UNAUTHORIZED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_cardx_problem(r, NGX_HTTP_UNAUTHORIZED,
                                &ngx_http_cardx_unauthorized_body);

    ngx_http_finalize_request(r, rc);

    return NGX_DONE;
}


/* Hands the request over to a worker. */

ngx_int_t
ngx_http_cardx_fall_back(ngx_http_cardx_ctx_t *ctx,
    ngx_http_cardx_status_e status)
{
    ngx_uint_t                   seconds;
    ngx_http_request_t          *r;
    ngx_http_cardx_counters_t   *counters;
    ngx_http_cardx_loc_conf_t   *clcf;
    ngx_http_cardx_main_conf_t  *cmcf;

    r = ctx->request;

    seconds = (status == NGX_HTTP_CARDX_PASS) ? 0
                                              : ngx_http_cardx_limited(ctx);

    if (seconds) {
        return ngx_http_cardx_too_many(ctx, seconds);
    }

    ngx_http_cardx_count(ctx, status);

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_cardx_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    counters = cmcf->counters;

    if (clcf->fallback.len) {
        (void) ngx_atomic_fetch_add(&counters->fallbacks[ctx->path], 1);

        if (!r->discard_body) {
            r->read_event_handler = ngx_http_block_reading;
        }

        return ngx_http_named_location(r, &clcf->fallback);
    }

    return ngx_http_cardx_unavailable(ctx);
}


ngx_int_t
ngx_http_cardx_unavailable(ngx_http_cardx_ctx_t *ctx)
{
    ngx_http_request_t          *r;
    ngx_http_cardx_main_conf_t  *cmcf;
    static ngx_str_t             retry_after = ngx_string("Retry-After");
    static ngx_str_t             second = ngx_string("1");

    r = ctx->request;

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_cardx_module);

    (void) ngx_atomic_fetch_add(&cmcf->counters->unavailable[ctx->path], 1);

    if (ngx_http_cardx_add_header(r, &retry_after, &second) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_cardx_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  &ngx_http_cardx_unavailable_body);
}
