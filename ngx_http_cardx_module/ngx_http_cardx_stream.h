
/*
 * A stream of server-sent events: what ngx_http_cardx_events.c, which knows
 * what is to be sent, and ngx_http_cardx_stream.c, which sends it, share.
 */


#ifndef _NGX_HTTP_CARDX_STREAM_H_INCLUDED_
#define _NGX_HTTP_CARDX_STREAM_H_INCLUDED_


#include "ngx_http_cardx.h"


/* room for a change that is sent */
#define NGX_HTTP_CARDX_EVENT      320


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
    unsigned                         later:1;    /* with the next beat */
};


void ngx_http_cardx_stream_take(ngx_http_cardx_stream_t *s);
void ngx_http_cardx_stream_settled(ngx_http_cardx_stream_t *s);
ngx_int_t ngx_http_cardx_stream_start(ngx_http_cardx_stream_t *s);
ngx_int_t ngx_http_cardx_stream_send(ngx_http_cardx_stream_t *s,
    u_char *data, size_t len, ngx_uint_t copy);
void ngx_http_cardx_stream_timer(ngx_http_cardx_stream_t *s);
void ngx_http_cardx_stream_read(ngx_http_request_t *r);
void ngx_http_cardx_stream_write(ngx_http_request_t *r);
void ngx_http_cardx_stream_end(ngx_http_cardx_stream_t *s);
void ngx_http_cardx_stream_fail(ngx_http_cardx_stream_t *s, ngx_int_t rc);
void ngx_http_cardx_stream_free_pool(ngx_http_cardx_stream_t *s);
void ngx_http_cardx_stream_pool_cleanup(void *data);


#endif /* _NGX_HTTP_CARDX_STREAM_H_INCLUDED_ */
