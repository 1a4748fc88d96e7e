
/*
 * Directives, variables, and the life of a worker.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_FILE_MAX  4096


static ngx_int_t ngx_http_cardx_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_cardx_init(ngx_conf_t *cf);
static void *ngx_http_cardx_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_cardx_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_cardx_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static char *ngx_http_cardx_redis(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cardx_redis_address(ngx_conf_t *cf,
    ngx_http_cardx_redis_t *redis);
static char *ngx_http_cardx_redis_parameter(ngx_conf_t *cf,
    ngx_http_cardx_redis_t *redis, ngx_str_t *value);
static char *ngx_http_cardx_id_key(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cardx_named(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_cardx_handler(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_cardx_read_file(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *content);

static ngx_int_t ngx_http_cardx_rewrite_handler(ngx_http_request_t *r);
static u_char *ngx_http_cardx_log_handler(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);

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


static ngx_command_t  ngx_http_cardx_commands[] = {

    { ngx_string("cardx_redis"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_cardx_redis,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_id_key"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_id_key,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("cardx_fallback"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_named,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, fallback),
      NULL },

    { ngx_string("cardx_media"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_cardx_named,
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
      ngx_http_cardx_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, card),
      ngx_http_cardx_card_handler },

    { ngx_string("cardx_thumbnail"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, thumbnail),
      ngx_http_cardx_thumbnail_handler },

    { ngx_string("cardx_redirect"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_handler,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_cardx_loc_conf_t, redirect),
      ngx_http_cardx_redirect_handler },

    { ngx_string("cardx_metrics"),
      NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_http_cardx_handler,
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


/* all change while a request is served */

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

    *h = ngx_http_cardx_rewrite_handler;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_cardx_auth_handler;

    return NGX_OK;
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
     */

    if (ngx_array_init(&conf->redis, cf->pool, 1,
                       sizeof(ngx_http_cardx_redis_t *))
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
     */

    conf->redis = NGX_CONF_UNSET_PTR;
    conf->id_key = NGX_CONF_UNSET_PTR;
    conf->auth = NGX_CONF_UNSET;
    conf->card = NGX_CONF_UNSET;
    conf->thumbnail = NGX_CONF_UNSET;
    conf->redirect = NGX_CONF_UNSET;
    conf->metrics = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_cardx_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_cardx_loc_conf_t  *prev = parent;
    ngx_http_cardx_loc_conf_t  *conf = child;

    const char                  *name;
    ngx_http_cardx_main_conf_t  *mcf;

    ngx_conf_merge_ptr_value(conf->redis, prev->redis, NULL);
    ngx_conf_merge_ptr_value(conf->id_key, prev->id_key, NULL);
    ngx_conf_merge_str_value(conf->fallback, prev->fallback, "");
    ngx_conf_merge_str_value(conf->media, prev->media, "");
    ngx_conf_merge_value(conf->auth, prev->auth, 0);

    /* content handlers are not inherited */

    ngx_conf_init_value(conf->card, 0);
    ngx_conf_init_value(conf->thumbnail, 0);
    ngx_conf_init_value(conf->redirect, 0);
    ngx_conf_init_value(conf->metrics, 0);

    if (conf->card) {
        name = "cardx_card";

    } else if (conf->thumbnail) {
        name = "cardx_thumbnail";

    } else if (conf->redirect) {
        name = "cardx_redirect";

    } else if (conf->auth) {
        name = "cardx_auth";

    } else if (conf->metrics) {
        name = NULL;

    } else {
        return NGX_CONF_OK;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cardx_module);
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

    return NGX_CONF_OK;
}


static char *
ngx_http_cardx_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_loc_conf_t  *clcf = conf;

    char                         *rv;
    ngx_str_t                    *value;
    ngx_uint_t                    i;
    ngx_http_cardx_redis_t       *redis, **rp;
    ngx_http_cardx_main_conf_t   *mcf;

    if (clcf->redis != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    redis = ngx_pcalloc(cf->pool, sizeof(ngx_http_cardx_redis_t));
    if (redis == NULL) {
        return NGX_CONF_ERROR;
    }

    mcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_cardx_module);

    value = cf->args->elts;

    redis->main = mcf;
    redis->name = value[1];
    redis->connect_timeout = 1000;
    redis->timeout = 100;

    rv = ngx_http_cardx_redis_address(cf, redis);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        rv = ngx_http_cardx_redis_parameter(cf, redis, &value[i]);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (redis->user.len && redis->password.len == 0) {
        return "has \"user\" without \"password_file\"";
    }

    rp = ngx_array_push(&mcf->redis);
    if (rp == NULL) {
        return NGX_CONF_ERROR;
    }

    *rp = redis;
    clcf->redis = redis;

    return NGX_CONF_OK;
}


/* Names are resolved now: hiredis would do so in a worker, and block it. */

static char *
ngx_http_cardx_redis_address(ngx_conf_t *cf, ngx_http_cardx_redis_t *redis)
{
    size_t      len;
    u_char     *text;
    ngx_url_t   u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = redis->name;
    u.default_port = 6379;

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {

        if (u.err) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s in redis address \"%V\"", u.err, &u.url);
        }

        return NGX_CONF_ERROR;
    }

#if (NGX_HAVE_UNIX_DOMAIN)

    if (u.family == AF_UNIX) {
        redis->path = ((struct sockaddr_un *) u.addrs[0].sockaddr)->sun_path;
        return NGX_CONF_OK;
    }

#endif

    text = ngx_pcalloc(cf->pool, NGX_SOCKADDR_STRLEN + 1);
    if (text == NULL) {
        return NGX_CONF_ERROR;
    }

    len = ngx_sock_ntop(u.addrs[0].sockaddr, u.addrs[0].socklen, text,
                        NGX_SOCKADDR_STRLEN, 0);

    if (len == 0) {
        return NGX_CONF_ERROR;
    }

    redis->host = (char *) text;
    redis->port = ngx_inet_get_port(u.addrs[0].sockaddr);

    return NGX_CONF_OK;
}


static char *
ngx_http_cardx_redis_parameter(ngx_conf_t *cf, ngx_http_cardx_redis_t *redis,
    ngx_str_t *value)
{
    ngx_str_t  s;

    if (ngx_strncmp(value->data, "db=", 3) == 0) {

        redis->db = ngx_atoi(value->data + 3, value->len - 3);

        if (redis->db == NGX_ERROR) {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "user=", 5) == 0) {

        redis->user.len = value->len - 5;
        redis->user.data = value->data + 5;

        if (redis->user.len == 0) {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "password_file=", 14) == 0) {

        s.len = value->len - 14;
        s.data = value->data + 14;

        if (s.len == 0) {
            goto invalid;
        }

        if (ngx_http_cardx_read_file(cf, &s, &redis->password) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        while (redis->password.len
               && (redis->password.data[redis->password.len - 1] == LF
                   || redis->password.data[redis->password.len - 1] == CR))
        {
            redis->password.len--;
        }

        if (redis->password.len == 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" contains no password", &s);
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "connect_timeout=", 16) == 0) {

        s.len = value->len - 16;
        s.data = value->data + 16;

        redis->connect_timeout = ngx_parse_time(&s, 0);

        if (redis->connect_timeout == (ngx_msec_t) NGX_ERROR
            || redis->connect_timeout == 0)
        {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "timeout=", 8) == 0) {

        s.len = value->len - 8;
        s.data = value->data + 8;

        redis->timeout = ngx_parse_time(&s, 0);

        if (redis->timeout == (ngx_msec_t) NGX_ERROR || redis->timeout == 0) {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       value);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_cardx_id_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_loc_conf_t  *clcf = conf;

    int         rc;
    ngx_str_t  *value, content;

    if (clcf->id_key != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_cardx_read_file(cf, &value[1], &content) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    clcf->id_key = ngx_palloc(cf->pool, sizeof(cx_id_key_t));
    if (clcf->id_key == NULL) {
        return NGX_CONF_ERROR;
    }

    rc = cx_id_key_parse(clcf->id_key, (char *) content.data, content.len);

    ngx_memzero(content.data, content.len);

    if (rc != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" contains no key of 64 hex digits",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cardx_named(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    ngx_str_t  *field, *value;

    field = (ngx_str_t *) (p + cmd->offset);

    if (field->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len < 2 || value[1].data[0] != '@') {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a named location", &value[1]);
        return NGX_CONF_ERROR;
    }

    *field = value[1];

    return NGX_CONF_OK;
}


/* A flag that makes the location ours; the handler stands in cmd->post. */

static char *
ngx_http_cardx_handler(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char                      *rv;
    ngx_flag_t                *flag;
    ngx_command_t              slot;
    ngx_http_core_loc_conf_t  *clcf;

    slot = *cmd;
    slot.post = NULL;

    rv = ngx_conf_set_flag_slot(cf, &slot, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    flag = (ngx_flag_t *) (p + cmd->offset);

    if (!*flag) {
        return NGX_CONF_OK;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

#if (NGX_PCRE)

    if (clcf->regex) {
        return "can be used in prefix locations only";
    }

#endif

    if (clcf->handler) {
        return "conflicts with another handler of the location";
    }

    clcf->handler = (ngx_http_handler_pt) cmd->post;

    return NGX_CONF_OK;
}


/* A small secret, by name; its content is never logged. */

static ngx_int_t
ngx_http_cardx_read_file(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *content)
{
    off_t       size;
    ssize_t     n;
    ngx_str_t   path;
    ngx_int_t   rc;
    ngx_file_t  file;

    path = *name;

    if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));

    file.name = path;
    file.log = cf->log;

    file.fd = ngx_open_file(path.data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_open_file_n " \"%V\" failed", &path);
        return NGX_ERROR;
    }

    rc = NGX_ERROR;

    if (ngx_fd_info(file.fd, &file.info) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_fd_info_n " \"%V\" failed", &path);
        goto done;
    }

    size = ngx_file_size(&file.info);

    if (!ngx_is_file(&file.info)
        || size == 0
        || size > NGX_HTTP_CARDX_FILE_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is empty, too large, or not a file",
                           &path);
        goto done;
    }

    content->data = ngx_pnalloc(cf->pool, size);
    if (content->data == NULL) {
        goto done;
    }

    n = ngx_read_file(&file, content->data, size, 0);

    if (n == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           ngx_read_file_n " \"%V\" failed", &path);
        goto done;
    }

    content->len = n;

    rc = NGX_OK;

done:

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &path);
    }

    return rc;
}


/*
 * Before anything else in the location can log: whatever nginx itself writes
 * into error_log of such a request may not show its URI, which has a key.
 */

static ngx_int_t
ngx_http_cardx_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (clcf->card || clcf->redirect) {
        r->main->log_handler = ngx_http_cardx_log_handler;
    }

    return NGX_DECLINED;
}


static u_char *
ngx_http_cardx_log_handler(ngx_http_request_t *r, ngx_http_request_t *sr,
    u_char *buf, size_t len)
{
    u_char                    *last;
    ngx_http_upstream_t       *u;
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    last = buf + len;

    cscf = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    clcf = ngx_http_get_module_loc_conf(sr, ngx_http_core_module);

    buf = ngx_slprintf(buf, last, ", server: %V, request: \"%V ...\""
                       ", location: \"%V\"",
                       &cscf->server_name, &r->method_name, &clcf->name);

    u = sr->upstream;

    if (u && u->peer.name) {
        buf = ngx_slprintf(buf, last, ", upstream: \"%V%V\"", &u->schema,
                           u->peer.name);
    }

    if (r->headers_in.host) {
        buf = ngx_slprintf(buf, last, ", host: \"%V\"",
                           &r->headers_in.host->value);
    }

    return buf;
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

    redis = mcf->redis.elts;

    for (i = 0; i < mcf->redis.nelts; i++) {
        ngx_http_cardx_redis_exit(redis[i]);
    }
}
