
/*
 * Counters in shared memory, and their text for Prometheus.
 */


#include "ngx_http_cardx.h"


/* a line is a name, two labels and a number */
#define NGX_HTTP_CARDX_METRICS_SIZE  16384


static ngx_int_t ngx_http_cardx_metrics_init_zone(ngx_shm_zone_t *zone,
    void *data);
static u_char *ngx_http_cardx_metrics_write(u_char *p, u_char *last,
    ngx_http_cardx_counters_t *counters);
static u_char *ngx_http_cardx_metrics_paths(u_char *p, u_char *last,
    const char *name, const char *help, ngx_atomic_t *counter);
static u_char *ngx_http_cardx_metrics_one(u_char *p, u_char *last,
    const char *name, const char *help, ngx_atomic_t counter);


static const char  *ngx_http_cardx_path_names[NGX_HTTP_CARDX_PATHS] = {
    "card", "media", "thumbnail", "redirect", "auth", "updates", "events"
};


ngx_str_t  ngx_http_cardx_status_names[NGX_HTTP_CARDX_STATUSES] = {
    ngx_null_string,
    ngx_string("cached"),
    ngx_string("hit"),
    ngx_string("miss"),
    ngx_string("refused"),
    ngx_string("malformed"),
    ngx_string("pass"),
    ngx_string("limited")
};


ngx_int_t
ngx_http_cardx_metrics_zone(ngx_conf_t *cf, ngx_http_cardx_main_conf_t *cmcf)
{
    static ngx_str_t  name = ngx_string("cardx_metrics");

    /* a tag of its own: no cardx_cache may name this zone */

    cmcf->zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize, &name);
    if (cmcf->zone == NULL) {
        return NGX_ERROR;
    }

    cmcf->zone->init = ngx_http_cardx_metrics_init_zone;
    cmcf->zone->data = cmcf;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_metrics_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t             *shpool;
    ngx_http_cardx_main_conf_t  *ocmcf = data;

    ngx_http_cardx_main_conf_t  *cmcf;

    cmcf = zone->data;

    if (ocmcf) {

        /* a reload goes on counting */

        cmcf->counters = ocmcf->counters;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (zone->shm.exists) {
        cmcf->counters = shpool->data;
        return NGX_OK;
    }

    cmcf->counters = ngx_slab_calloc(shpool,
                                     sizeof(ngx_http_cardx_counters_t));
    if (cmcf->counters == NULL) {
        return NGX_ERROR;
    }

    shpool->data = cmcf->counters;

    return NGX_OK;
}


ngx_int_t
ngx_http_cardx_metrics_handler(ngx_http_request_t *r)
{
    u_char                      *p, *last;
    ngx_int_t                    rc;
    ngx_http_cardx_main_conf_t  *cmcf;
    static ngx_str_t             type =
        ngx_string("text/plain; version=0.0.4");

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    p = ngx_pnalloc(r->pool, NGX_HTTP_CARDX_METRICS_SIZE);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cmcf = ngx_http_get_module_main_conf(r, ngx_http_cardx_module);

    last = ngx_http_cardx_metrics_write(p, p + NGX_HTTP_CARDX_METRICS_SIZE,
                                        cmcf->counters);

    r->headers_out.status = NGX_HTTP_OK;

    return ngx_http_cardx_send(r, &type, p, last - p);
}


static u_char *
ngx_http_cardx_metrics_write(u_char *p, u_char *last,
    ngx_http_cardx_counters_t *counters)
{
    ngx_uint_t  path, status;

    p = ngx_slprintf(p, last,
                     "# HELP cardx_edge_requests_total"
                     " Requests by what Redis said of them.\n"
                     "# TYPE cardx_edge_requests_total counter\n");

    for (path = 0; path < NGX_HTTP_CARDX_PATHS; path++) {

        for (status = NGX_HTTP_CARDX_CACHED; status < NGX_HTTP_CARDX_STATUSES;
             status++)
        {
            p = ngx_slprintf(p, last, "cardx_edge_requests_total{path=\"%s\","
                             "status=\"%V\"} %uA\n",
                             ngx_http_cardx_path_names[path],
                             &ngx_http_cardx_status_names[status],
                             counters->requests[path][status]);
        }
    }

    p = ngx_http_cardx_metrics_paths(p, last, "fallbacks",
                                     "Requests handed to a worker.",
                                     counters->fallbacks);

    p = ngx_http_cardx_metrics_paths(p, last, "unavailable",
                                     "Requests answered 503.",
                                     counters->unavailable);

    p = ngx_http_cardx_metrics_one(p, last, "redis_commands",
                                   "Commands sent for requests.",
                                   counters->commands);

    p = ngx_http_cardx_metrics_one(p, last, "redis_timeouts",
                                   "Requests that waited in vain.",
                                   counters->timeouts);

    p = ngx_http_cardx_metrics_one(p, last, "redis_errors",
                                   "Error replies to requests.",
                                   counters->errors);

    p = ngx_http_cardx_metrics_one(p, last, "redis_connects",
                                   "Connections that were set up.",
                                   counters->connects);

    p = ngx_http_cardx_metrics_one(p, last, "redis_disconnects",
                                   "Connections lost or not made.",
                                   counters->disconnects);

    p = ngx_http_cardx_metrics_one(p, last, "cache_stores",
                                   "Answers of Redis kept in a cache.",
                                   counters->stores);

    p = ngx_http_cardx_metrics_one(p, last, "cache_forgets",
                                   "Objects that caches were told to forget.",
                                   counters->forgets);

    p = ngx_http_cardx_metrics_one(p, last, "cache_flushes",
                                   "Times that a cache forgot everything.",
                                   counters->flushes);

    p = ngx_http_cardx_metrics_one(p, last, "cache_locked",
                                   "Requests that found a cache in use.",
                                   counters->locked);

    p = ngx_http_cardx_metrics_one(p, last, "scans_lost",
                                   "Scans that were too many to be counted.",
                                   counters->lost_scans);

    p = ngx_http_cardx_metrics_one(p, last, "calls_waited",
                                   "Calls that waited for others to end.",
                                   counters->waited_calls);

    p = ngx_http_cardx_metrics_one(p, last, "calls_refused",
                                   "Calls beyond those, or in vain.",
                                   counters->refused_calls);

    p = ngx_http_cardx_metrics_one(p, last, "streams",
                                   "Streams of events that were begun.",
                                   counters->streams);

    p = ngx_http_cardx_metrics_one(p, last, "stream_messages",
                                   "Messages sent on to a stream.",
                                   counters->events);

    p = ngx_http_cardx_metrics_one(p, last, "stream_catches",
                                   "Times that a stream asked a worker.",
                                   counters->catches);

    return p;
}


static u_char *
ngx_http_cardx_metrics_paths(u_char *p, u_char *last, const char *name,
    const char *help, ngx_atomic_t *counter)
{
    ngx_uint_t  path;

    p = ngx_slprintf(p, last, "# HELP cardx_edge_%s_total %s\n"
                     "# TYPE cardx_edge_%s_total counter\n",
                     name, help, name);

    for (path = 0; path < NGX_HTTP_CARDX_PATHS; path++) {
        p = ngx_slprintf(p, last, "cardx_edge_%s_total{path=\"%s\"} %uA\n",
                         name, ngx_http_cardx_path_names[path],
                         counter[path]);
    }

    return p;
}


static u_char *
ngx_http_cardx_metrics_one(u_char *p, u_char *last, const char *name,
    const char *help, ngx_atomic_t counter)
{
    return ngx_slprintf(p, last, "# HELP cardx_edge_%s_total %s\n"
                        "# TYPE cardx_edge_%s_total counter\n"
                        "cardx_edge_%s_total %uA\n",
                        name, help, name, name, counter);
}
