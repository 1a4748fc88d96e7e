
/*
 * Directives, variables, and the life of a worker.
 */


#include "ngx_http_cardx.h"


static ngx_int_t ngx_http_cardx_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_cardx_init(ngx_conf_t *cf);
static void *ngx_http_cardx_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_cardx_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_cardx_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static char *ngx_http_cardx_heartbeat(ngx_conf_t *cf, void *post, void *data);

static ngx_http_cardx_ctx_t *ngx_http_cardx_variable_ctx(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_cardx_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_cardx_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_cardx_terminal_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_cardx_str_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);

static ngx_int_t ngx_http_cardx_init_process(ngx_cycle_t *cycle);
static void ngx_http_cardx_exit_process(ngx_cycle_t *cycle);


static ngx_conf_post_t  ngx_http_cardx_heartbeat_post =
    { ngx_http_cardx_heartbeat };


static ngx_command_t  ngx_http_cardx_commands[] = {

    { ngx_string("cardx_redis"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_cardx_conf_redis,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_id_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_conf_id_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_cache"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_conf_cache,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_refusals"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_cardx_conf_refusals,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_calls"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_cardx_conf_calls,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_private_log"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, private_log),
      NULL },

    { ngx_string("cardx_fallback"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_conf_named,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, fallback),
      NULL },

    { ngx_string("cardx_media"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_conf_named,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, media),
      NULL },

    { ngx_string("cardx_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, auth),
      NULL },

    { ngx_string("cardx_card"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_conf_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, card),
      ngx_http_cardx_card_handler },

    { ngx_string("cardx_thumbnail"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_conf_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, thumbnail),
      ngx_http_cardx_thumbnail_handler },

    { ngx_string("cardx_redirect"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_conf_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, redirect),
      ngx_http_cardx_redirect_handler },

    { ngx_string("cardx_updates"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_conf_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, updates),
      ngx_http_cardx_updates_handler },

    { ngx_string("cardx_events"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_conf_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, events),
      ngx_http_cardx_events_handler },

    { ngx_string("cardx_changes"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, changes),
      NULL },

    { ngx_string("cardx_heartbeat"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, heartbeat),
      &ngx_http_cardx_heartbeat_post },

    { ngx_string("cardx_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_conf_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, metrics),
      ngx_http_cardx_metrics_handler },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_cardx_module_ctx = {
    ngx_http_cardx_add_variables,          /* preconfiguration */
    ngx_http_cardx_init,                   /* postconfiguration */

    ngx_http_cardx_create_main_conf,       /* create main configuration */
    NULL,                                  /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_cardx_create_loc_conf,        /* create location configuration */
    ngx_http_cardx_merge_loc_conf          /* merge location configuration */
};


ngx_module_t  ngx_http_cardx_module = {
    NGX_MODULE_V1,
    &ngx_http_cardx_module_ctx,            /* module context */
    ngx_http_cardx_commands,               /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_cardx_init_process,           /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_cardx_exit_process,           /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* all but the last change while a request is served */

static ngx_http_variable_t  ngx_http_cardx_variables[] = {

    { ngx_string("cardx_status"), NULL, ngx_http_cardx_status_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("cardx_user_id"), NULL, ngx_http_cardx_user_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("cardx_terminal_id"), NULL, ngx_http_cardx_terminal_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("cardx_media_id"), NULL, ngx_http_cardx_str_variable,
      offsetof(ngx_http_cardx_ctx_t, media_id), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("cardx_media_type"), NULL, ngx_http_cardx_str_variable,
      offsetof(ngx_http_cardx_ctx_t, media_type), NGX_HTTP_VAR_NOCACHEABLE,
      0 },

    { ngx_string("cardx_network"), NULL, ngx_http_cardx_network_variable,
      0, 0, 0 },

      ngx_http_null_variable
};


static ngx_int_t
ngx_http_cardx_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_cardx_variables; v->name.len; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt         *h;
    ngx_http_core_main_conf_t   *cmcf;
    ngx_http_cardx_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cardx_module);

    if (!mcf->used) {
        return NGX_OK;
    }

    if (ngx_http_cardx_metrics_zone(cf, mcf) != NGX_OK) {
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_cardx_log_rewrite;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_cardx_log_post_read;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_cardx_auth_handler;

    return ngx_http_cardx_calls_init(cf, mcf);
}


static void *
ngx_http_cardx_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_cardx_main_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cardx_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->zone = NULL;
     *     conf->counters = NULL;
     *     conf->used = 0;
     *     conf->limit = NULL;
     */

    if (ngx_array_init(&conf->redis, cf->pool, 1,
                       sizeof(ngx_http_cardx_redis_t *))
        != NGX_OK
        || ngx_array_init(&conf->caches, cf->pool, 1,
                          sizeof(ngx_http_cardx_cache_t *))
           != NGX_OK)
    {
        return NULL;
    }

    return conf;
}


static void *
ngx_http_cardx_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_cardx_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_cardx_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->fallback = { 0, NULL };
     *     conf->media = { 0, NULL };
     *     conf->changes = { 0, NULL };
     */

    conf->redis = NGX_CONF_UNSET_PTR;
    conf->cache = NGX_CONF_UNSET_PTR;
    conf->calls = NGX_CONF_UNSET_PTR;
    conf->id_key = NGX_CONF_UNSET_PTR;
    conf->auth = NGX_CONF_UNSET;
    conf->card = NGX_CONF_UNSET;
    conf->thumbnail = NGX_CONF_UNSET;
    conf->redirect = NGX_CONF_UNSET;
    conf->updates = NGX_CONF_UNSET;
    conf->events = NGX_CONF_UNSET;
    conf->heartbeat = NGX_CONF_UNSET_MSEC;
    conf->metrics = NGX_CONF_UNSET;
    conf->private_log = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_cardx_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_cardx_loc_conf_t  *prev = parent;
    ngx_http_cardx_loc_conf_t  *conf = child;

    const char                  *name;
    ngx_http_cardx_main_conf_t  *mcf;

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cardx_module);

    ngx_conf_merge_ptr_value(conf->redis, prev->redis, NULL);
    ngx_conf_merge_ptr_value(conf->cache, prev->cache, NULL);
    ngx_conf_merge_ptr_value(conf->calls, prev->calls, NULL);
    ngx_conf_merge_ptr_value(conf->id_key, prev->id_key, NULL);
    ngx_conf_merge_str_value(conf->fallback, prev->fallback, "");
    ngx_conf_merge_str_value(conf->media, prev->media, "");
    ngx_conf_merge_str_value(conf->changes, prev->changes, "");
    ngx_conf_merge_msec_value(conf->heartbeat, prev->heartbeat, 25000);
    ngx_conf_merge_value(conf->auth, prev->auth, 0);

    ngx_conf_merge_value(conf->private_log, prev->private_log, 0);

    if (conf->private_log || conf->calls) {
        mcf->used = 1;
    }

    /* content handlers are not inherited */

    ngx_conf_init_value(conf->card, 0);
    ngx_conf_init_value(conf->thumbnail, 0);
    ngx_conf_init_value(conf->redirect, 0);
    ngx_conf_init_value(conf->updates, 0);
    ngx_conf_init_value(conf->events, 0);
    ngx_conf_init_value(conf->metrics, 0);

    /* what is answered here waits for no worker */

    if (conf->card || conf->thumbnail || conf->redirect || conf->updates
        || conf->events || conf->metrics)
    {
        conf->calls = NULL;
    }

    if (conf->card) {
        name = "cardx_card";

    } else if (conf->thumbnail) {
        name = "cardx_thumbnail";

    } else if (conf->redirect) {
        name = "cardx_redirect";

    } else if (conf->updates) {
        name = "cardx_updates";

    } else if (conf->events) {
        name = "cardx_events";

    } else if (conf->auth) {
        name = "cardx_auth";

    } else if (conf->metrics) {
        name = NULL;

    } else {
        return NGX_CONF_OK;
    }

    mcf->used = 1;

    if (name && conf->redis == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" requires \"cardx_redis\"", name);
        return NGX_CONF_ERROR;
    }

    if (name && conf->id_key == NULL && !conf->redirect) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" requires \"cardx_id_key\"", name);
        return NGX_CONF_ERROR;
    }

    if ((conf->updates || conf->events) && !conf->auth) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" requires \"cardx_auth\"", name);
        return NGX_CONF_ERROR;
    }

    if (conf->events && conf->changes.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" requires \"cardx_changes\"", name);
        return NGX_CONF_ERROR;
    }

    if (name && conf->cache) {
        return ngx_http_cardx_cache_merge(cf, conf->cache, conf->redis);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cardx_heartbeat(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *heartbeat = data;

    return (*heartbeat < 1000) ? "must be at least 1s" : NGX_CONF_OK;
}


/* A subrequest knows what its main request knows. */

static ngx_http_cardx_ctx_t *
ngx_http_cardx_variable_ctx(ngx_http_request_t *r)
{
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_get_ctx(r);

    if (ctx == NULL && r != r->main) {
        ctx = ngx_http_cardx_get_ctx(r->main);
    }

    return ctx;
}


static ngx_int_t
ngx_http_cardx_status_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_variable_ctx(r);

    if (ctx == NULL || ctx->status == NGX_HTTP_CARDX_NONE) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = ngx_http_cardx_status_names[ctx->status].len;
    v->data = ngx_http_cardx_status_names[ctx->status].data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_variable_ctx(r);

    if (ctx == NULL || ctx->auth != NGX_HTTP_CARDX_AUTH_VERIFIED) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = CX_ID_LEN;
    v->data = (u_char *) ctx->token->user_id;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_terminal_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_variable_ctx(r);

    if (ctx == NULL || ctx->auth != NGX_HTTP_CARDX_AUTH_VERIFIED) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, NGX_INT32_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%uD", ctx->token->terminal_id) - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_str_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t             *s;
    ngx_http_cardx_ctx_t  *ctx;

    ctx = ngx_http_cardx_variable_ctx(r);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s = (ngx_str_t *) ((char *) ctx + data);

    if (s->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = s->len;
    v->data = s->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_cardx_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i;
    ngx_http_cardx_redis_t      **redis;
    ngx_http_cardx_main_conf_t   *mcf;

    /* the cache manager and loader serve no requests */

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_cardx_module);

    if (mcf == NULL || !mcf->used) {
        return NGX_OK;
    }

    redis = mcf->redis.elts;

    for (i = 0; i < mcf->redis.nelts; i++) {

        if (ngx_http_cardx_redis_init(cycle, redis[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ngx_http_cardx_caches_init(cycle, mcf);

    return NGX_OK;
}


static void
ngx_http_cardx_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                    i;
    ngx_http_cardx_redis_t      **redis;
    ngx_http_cardx_main_conf_t   *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_cardx_module);

    if (mcf == NULL) {
        return;
    }

    ngx_http_cardx_caches_exit(mcf);

    redis = mcf->redis.elts;

    for (i = 0; i < mcf->redis.nelts; i++) {
        ngx_http_cardx_scans_exit(redis[i]);
        ngx_http_cardx_listen_exit(redis[i]);
        ngx_http_cardx_pubsub_exit(redis[i]);
        ngx_http_cardx_redis_exit(redis[i]);
        ngx_http_cardx_scans_free(redis[i]);
    }
}
