
/*
 * Directives that are more than a slot.  Files and names are read and
 * resolved here, in the master, before anything is served.
 */


#include "ngx_http_cardx.h"


#define NGX_HTTP_CARDX_FILE_MAX  4096


static char *ngx_http_cardx_conf_address(ngx_conf_t *cf,
    ngx_http_cardx_redis_t *redis, ngx_str_t *value);
static char *ngx_http_cardx_conf_cluster(ngx_conf_t *cf,
    ngx_http_cardx_redis_t *redis);
static char *ngx_http_cardx_conf_parameter(ngx_conf_t *cf,
    ngx_http_cardx_redis_t *redis, ngx_str_t *value);
static ngx_int_t ngx_http_cardx_conf_file(ngx_conf_t *cf, ngx_str_t *name,
    ngx_str_t *content);


char *
ngx_http_cardx_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_loc_conf_t  *clcf = conf;

    char                         *rv;
    ngx_str_t                    *value;
    ngx_uint_t                    i, parameters;
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

    if (ngx_array_init(&redis->addresses, cf->pool, 1,
                       sizeof(ngx_http_cardx_address_t))
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    parameters = 0;

    for (i = 1; i < cf->args->nelts; i++) {

        /* addresses first: no parameter is one */

        if (i > 1
            && (parameters
                || ngx_strlchr(value[i].data, value[i].data + value[i].len,
                               '=')
                || ngx_strcmp(value[i].data, "cluster") == 0))
        {
            parameters = 1;
            rv = ngx_http_cardx_conf_parameter(cf, redis, &value[i]);

        } else {
            rv = ngx_http_cardx_conf_address(cf, redis, &value[i]);
        }

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    rv = ngx_http_cardx_conf_cluster(cf, redis);

    if (rv != NGX_CONF_OK) {
        return rv;
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
ngx_http_cardx_conf_address(ngx_conf_t *cf, ngx_http_cardx_redis_t *redis,
    ngx_str_t *value)
{
    size_t                     len;
    u_char                    *text;
    ngx_url_t                  u;
    ngx_http_cardx_address_t  *address;

    address = ngx_array_push(&redis->addresses);
    if (address == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(address, sizeof(ngx_http_cardx_address_t));

    address->name = *value;

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url = *value;
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
        address->path = ((struct sockaddr_un *) u.addrs[0].sockaddr)->sun_path;
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

    address->host = (char *) text;
    address->port = ngx_inet_get_port(u.addrs[0].sockaddr);

    return NGX_CONF_OK;
}


/* What a cluster can not have, and what only a cluster can. */

static char *
ngx_http_cardx_conf_cluster(ngx_conf_t *cf, ngx_http_cardx_redis_t *redis)
{
    ngx_uint_t                 i;
    ngx_http_cardx_address_t  *address;

    if (!redis->cluster) {
        return (redis->addresses.nelts > 1)
               ? "has several addresses without \"cluster\"" : NGX_CONF_OK;
    }

    if (redis->db) {
        return "has \"db\" with \"cluster\"";
    }

    address = redis->addresses.elts;

    for (i = 0; i < redis->addresses.nelts; i++) {

        if (address[i].path) {
            return "has a unix socket with \"cluster\"";
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_cardx_conf_parameter(ngx_conf_t *cf, ngx_http_cardx_redis_t *redis,
    ngx_str_t *value)
{
    ngx_str_t  s;

    if (ngx_strcmp(value->data, "cluster") == 0) {
        redis->cluster = 1;
        return NGX_CONF_OK;
    }

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

        if (ngx_http_cardx_conf_file(cf, &s, &redis->password) != NGX_OK) {
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


char *
ngx_http_cardx_conf_id_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_cardx_loc_conf_t  *clcf = conf;

    int         rc;
    ngx_str_t  *value, content;

    if (clcf->id_key != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_cardx_conf_file(cf, &value[1], &content) != NGX_OK) {
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


char *
ngx_http_cardx_conf_named(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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

char *
ngx_http_cardx_conf_handler(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
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
ngx_http_cardx_conf_file(ngx_conf_t *cf, ngx_str_t *name, ngx_str_t *content)
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
