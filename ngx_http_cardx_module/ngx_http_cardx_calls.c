
/*
 * Calls that workers answer: a few of each caller at a time, so that nobody
 * fills the queue of a pool.  The others wait here, in the order they came.
 *
 * A caller is the user that the token names, or without one a network; of
 * another pool it is another caller, so that no pool waits for another.  This
 * process counts: what it has counted goes with it when it is killed, and an
 * nginx of n workers lets n times as many pass.
 *
 * A call takes its place when its body is here, and gives it back when nothing
 * more comes from upstream: who sends or reads slowly holds none.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_POOL    32

/* a letter that says of what, the longer of an id and a network, the pool */
#define NGX_HTTP_CARDX_CALLER  (1 + CX_ID_LEN + NGX_HTTP_CARDX_POOL)


typedef struct {
    ngx_str_node_t                   sn;       /* in mcf->callers */
    ngx_queue_t                      waiting;  /* the oldest first */
    ngx_uint_t                       nwaiting;
    ngx_uint_t                       running;
    u_char                           name[NGX_HTTP_CARDX_CALLER];
} ngx_http_cardx_caller_t;


struct ngx_http_cardx_calls_s {
    ngx_str_t                        pool;     /* may be empty */
    ngx_uint_t                       user;     /* so many of each at once */
    ngx_uint_t                       network;
    ngx_uint_t                       waiting;  /* of each */
    ngx_msec_t                       timeout;  /* of one that waits */
};


typedef enum {
    NGX_HTTP_CARDX_CALL_READING = 0,
    NGX_HTTP_CARDX_CALL_READ,
    NGX_HTTP_CARDX_CALL_WAITING,
    NGX_HTTP_CARDX_CALL_RUNNING,
    NGX_HTTP_CARDX_CALL_DONE
} ngx_http_cardx_call_e;


struct ngx_http_cardx_call_s {
    ngx_http_cardx_call_e            state;
    ngx_http_cardx_caller_t         *caller;   /* WAITING, RUNNING */
    ngx_uint_t                       places;   /* the caller's */
    ngx_queue_t                      queue;    /* WAITING */
    ngx_event_t                      event;    /* its turn, or too late */
    ngx_http_cardx_ctx_t            *ctx;
};


static ngx_int_t ngx_http_cardx_calls_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_cardx_call_begin(ngx_http_request_t *r,
    ngx_http_cardx_ctx_t *ctx);
static void ngx_http_cardx_call_body(ngx_http_request_t *r);
static ngx_int_t ngx_http_cardx_call_enter(ngx_http_request_t *r,
    ngx_http_cardx_call_t *call);
static ngx_http_cardx_caller_t *ngx_http_cardx_caller(ngx_http_request_t *r,
    ngx_http_cardx_call_t *call);
static void ngx_http_cardx_call_event(ngx_event_t *ev);
static void ngx_http_cardx_call_unqueue(ngx_http_cardx_call_t *call);
static ngx_int_t ngx_http_cardx_call_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_cardx_call_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


/* cardx_calls user=8 network=16 [pool=] [waiting=1000] [timeout=10s] | off */

char *
ngx_http_cardx_conf_calls(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_loc_conf_t  *clcf = conf;

    ngx_int_t                n;
    ngx_str_t               *value, s;
    ngx_uint_t               i;
    ngx_http_cardx_calls_t  *calls;

    if (clcf->calls != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        clcf->calls = NULL;
        return NGX_CONF_OK;
    }

    calls = ngx_pcalloc(cf->pool, sizeof(ngx_http_cardx_calls_t));
    if (calls == NULL) {
        return NGX_CONF_ERROR;
    }

    calls->waiting = 1000;
    calls->timeout = 10000;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "timeout=", 8) == 0) {
            s.len = value[i].len - 8;
            s.data = value[i].data + 8;

            n = ngx_parse_time(&s, 0);
            calls->timeout = n;

        } else if (ngx_strncmp(value[i].data, "waiting=", 8) == 0) {
            n = ngx_atoi(value[i].data + 8, value[i].len - 8);
            calls->waiting = n;

        } else if (ngx_strncmp(value[i].data, "network=", 8) == 0) {
            n = ngx_atoi(value[i].data + 8, value[i].len - 8);
            calls->network = n;

        } else if (ngx_strncmp(value[i].data, "pool=", 5) == 0) {
            calls->pool.len = value[i].len - 5;
            calls->pool.data = value[i].data + 5;
            n = (calls->pool.len <= NGX_HTTP_CARDX_POOL) ? 1 : NGX_ERROR;

        } else if (ngx_strncmp(value[i].data, "user=", 5) == 0) {
            n = ngx_atoi(value[i].data + 5, value[i].len - 5);
            calls->user = n;

        } else {
            n = NGX_ERROR;
        }

        if (n == NGX_ERROR || n == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    if (calls->user == 0 || calls->network == 0) {
        return "requires \"user\" and \"network\"";
    }

    clcf->calls = calls;

    return NGX_CONF_OK;
}


ngx_int_t
ngx_http_cardx_calls_init(ngx_conf_t *cf, ngx_http_cardx_main_conf_t *mcf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    ngx_rbtree_init(&mcf->callers, &mcf->callers_sentinel,
                    ngx_str_rbtree_insert_value);

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_cardx_calls_handler;

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_cardx_call_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_cardx_call_body_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_calls_handler(ngx_http_request_t *r)
{
    ngx_http_cardx_ctx_t       *ctx;
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    /* a stream's subrequests have turns of their own */

    if (clcf->calls == NULL || r->content_handler == NULL || r != r->main) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_cardx_create_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (ctx->call == NULL) {
        return ngx_http_cardx_call_begin(r, ctx);
    }

    switch (ctx->call->state) {

    case NGX_HTTP_CARDX_CALL_READING: /* a body that could not be read */
    case NGX_HTTP_CARDX_CALL_READ:
        return ngx_http_cardx_call_enter(r, ctx->call);

    case NGX_HTTP_CARDX_CALL_WAITING:
        return NGX_AGAIN;

    default: /* RUNNING, DONE: an internal redirect */
        return NGX_DECLINED;
    }
}


static ngx_int_t
ngx_http_cardx_call_begin(ngx_http_request_t *r, ngx_http_cardx_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_http_cardx_call_t  *call;

    call = ngx_pcalloc(r->pool, sizeof(ngx_http_cardx_call_t));
    if (call == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    call->ctx = ctx;
    call->event.handler = ngx_http_cardx_call_event;
    call->event.data = call;
    call->event.log = r->connection->log;

    ctx->call = call;

    rc = ngx_http_read_client_request_body(r, ngx_http_cardx_call_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    /* what reading has counted; the phases go on from its handler */

    ngx_http_finalize_request(r, NGX_DONE);

    return NGX_DONE;
}


static void
ngx_http_cardx_call_body(ngx_http_request_t *r)
{
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_get_ctx(r);
    ctx->call->state = NGX_HTTP_CARDX_CALL_READ;

    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}


static ngx_int_t
ngx_http_cardx_call_enter(ngx_http_request_t *r, ngx_http_cardx_call_t *call)
{
    ngx_http_cardx_caller_t     *caller;
    ngx_http_cardx_loc_conf_t   *clcf;
    ngx_http_cardx_main_conf_t  *mcf;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_cardx_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    caller = ngx_http_cardx_caller(r, call);
    if (caller == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (caller->nwaiting == 0 && caller->running < call->places) {
        caller->running++;

        call->caller = caller;
        call->state = NGX_HTTP_CARDX_CALL_RUNNING;

        return NGX_DECLINED;
    }

    if (caller->nwaiting >= clcf->calls->waiting) {
        (void) ngx_atomic_fetch_add(&mcf->counters->refused_calls, 1);

        call->state = NGX_HTTP_CARDX_CALL_DONE;

        return NGX_HTTP_TOO_MANY_REQUESTS;
    }

    if (ngx_http_cardx_notice_leaving(r) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->write_event_handler = ngx_http_request_empty_handler;

    (void) ngx_atomic_fetch_add(&mcf->counters->waited_calls, 1);

    ngx_queue_insert_tail(&caller->waiting, &call->queue);
    caller->nwaiting++;

    ngx_add_timer(&call->event, clcf->calls->timeout);

    call->caller = caller;
    call->state = NGX_HTTP_CARDX_CALL_WAITING;

    return NGX_AGAIN;
}


/* Who calls; known here as long as a call of theirs waits or runs. */

static ngx_http_cardx_caller_t *
ngx_http_cardx_caller(ngx_http_request_t *r, ngx_http_cardx_call_t *call)
{
    u_char                       name[NGX_HTTP_CARDX_CALLER];
    uint32_t                     hash;
    ngx_str_t                    s;
    ngx_http_cardx_ctx_t        *ctx;
    ngx_http_cardx_caller_t     *caller;
    ngx_http_cardx_loc_conf_t   *clcf;
    ngx_http_cardx_main_conf_t  *mcf;

    ctx = call->ctx;

    mcf = ngx_http_get_module_main_conf(r, ngx_http_cardx_module);
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    s.data = name;

    /*
     * a token that Redis does not know has a right tag all the same, but may
     * be an old one that the user has lost: those have places of their own
     */

    if (ctx->auth == NGX_HTTP_CARDX_AUTH_VERIFIED
        || ctx->auth == NGX_HTTP_CARDX_AUTH_UNKNOWN)
    {
        name[0] = (ctx->auth == NGX_HTTP_CARDX_AUTH_VERIFIED) ? 'u' : 't';
        ngx_memcpy(&name[1], ctx->token->user_id, CX_ID_LEN);

        s.len = 1 + CX_ID_LEN;
        call->places = clcf->calls->user;

    } else {
        name[0] = 'n';

        s.len = 1 + ngx_http_cardx_network(r, &name[1]);
        call->places = clcf->calls->network;
    }

    ngx_memcpy(&name[s.len], clcf->calls->pool.data, clcf->calls->pool.len);
    s.len += clcf->calls->pool.len;

    hash = ngx_crc32_short(s.data, s.len);

    caller = (ngx_http_cardx_caller_t *)
                 ngx_str_rbtree_lookup(&mcf->callers, &s, hash);

    if (caller) {
        return caller;
    }

    caller = ngx_calloc(sizeof(ngx_http_cardx_caller_t), r->connection->log);
    if (caller == NULL) {
        return NULL;
    }

    ngx_memcpy(caller->name, name, s.len);

    caller->sn.node.key = hash;
    caller->sn.str.len = s.len;
    caller->sn.str.data = caller->name;

    ngx_queue_init(&caller->waiting);
    ngx_rbtree_insert(&mcf->callers, &caller->sn.node);

    return caller;
}


static void
ngx_http_cardx_call_event(ngx_event_t *ev)
{
    ngx_connection_t            *c;
    ngx_http_request_t          *r;
    ngx_http_cardx_call_t       *call;
    ngx_http_cardx_main_conf_t  *mcf;

    call = ev->data;
    r = call->ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    if (ev->timedout) {
        ev->timedout = 0;

        mcf = ngx_http_get_module_main_conf(r, ngx_http_cardx_module);
        (void) ngx_atomic_fetch_add(&mcf->counters->refused_calls, 1);

        ngx_http_cardx_call_end(call);
        ngx_http_finalize_request(r, NGX_HTTP_SERVICE_UNAVAILABLE);

    } else {
        r->read_event_handler = ngx_http_block_reading;
        r->write_event_handler = ngx_http_core_run_phases;
        ngx_http_core_run_phases(r);
    }

    ngx_http_run_posted_requests(c);
}


static void
ngx_http_cardx_call_unqueue(ngx_http_cardx_call_t *call)
{
    ngx_queue_remove(&call->queue);
    call->caller->nwaiting--;

    if (call->event.timer_set) {
        ngx_del_timer(&call->event);
    }
}


/* Gives up the place that a call has, or waits for. */

void
ngx_http_cardx_call_end(ngx_http_cardx_call_t *call)
{
    ngx_queue_t                 *q;
    ngx_http_cardx_call_t       *next;
    ngx_http_cardx_caller_t     *caller;
    ngx_http_cardx_main_conf_t  *mcf;

    caller = call->caller;

    switch (call->state) {

    case NGX_HTTP_CARDX_CALL_WAITING:
        ngx_http_cardx_call_unqueue(call);
        break;

    case NGX_HTTP_CARDX_CALL_RUNNING:
        caller->running--;

        if (call->event.posted) {
            ngx_delete_posted_event(&call->event);
        }

        break;

    default:
        call->state = NGX_HTTP_CARDX_CALL_DONE;
        return;
    }

    call->state = NGX_HTTP_CARDX_CALL_DONE;

    /* more than one, if the first needs more to be free than others do */

    while (!ngx_queue_empty(&caller->waiting)) {
        q = ngx_queue_head(&caller->waiting);
        next = ngx_queue_data(q, ngx_http_cardx_call_t, queue);

        if (caller->running >= next->places) {
            return;
        }

        ngx_http_cardx_call_unqueue(next);

        next->state = NGX_HTTP_CARDX_CALL_RUNNING;
        caller->running++;

        ngx_post_event(&next->event, &ngx_posted_events);
    }

    if (caller->running == 0) {
        mcf = ngx_http_get_module_main_conf(call->ctx->request,
                                            ngx_http_cardx_module);

        ngx_rbtree_delete(&mcf->callers, &caller->sn.node);
        ngx_free(caller);
    }
}


/*
 * The first of all filters: the end of an answer is seen here when upstream
 * has said it, and the client may not have read a byte.
 */

static ngx_int_t
ngx_http_cardx_call_header_filter(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_http_cardx_ctx_t  *ctx;

    rc = ngx_http_next_header_filter(r);

    if (r->header_only) {
        ctx = ngx_http_cardx_get_ctx(r);

        if (ctx && ctx->call) {
            ngx_http_cardx_call_end(ctx->call);
        }
    }

    return rc;
}


static ngx_int_t
ngx_http_cardx_call_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_chain_t           *cl;
    ngx_http_cardx_ctx_t  *ctx;

    for (cl = in; cl; cl = cl->next) {

        if (!cl->buf->last_buf) {
            continue;
        }

        ctx = ngx_http_cardx_get_ctx(r);

        if (ctx && ctx->call) {
            ngx_http_cardx_call_end(ctx->call);
        }

        break;
    }

    return ngx_http_next_body_filter(r, in);
}
