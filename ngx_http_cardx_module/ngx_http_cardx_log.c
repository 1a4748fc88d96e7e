
/*
 * What error_log says of a request.  nginx names its address and its
 * referrer, and both may hold a key.
 */


#include "ngx_http_cardx.h"


static u_char *ngx_http_cardx_log_handler(ngx_http_request_t *r,
    ngx_http_request_t *sr, u_char *buf, size_t len);


/*
 * Before anything else looks at the request: its location is not known, so
 * this goes by what the server says.
 */

ngx_int_t
ngx_http_cardx_log_post_read(ngx_http_request_t *r)
{
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (clcf->private_log) {
        r->main->log_handler = ngx_http_cardx_log_handler;
    }

    return NGX_DECLINED;
}


/* A location that takes keys needs not be told. */

ngx_int_t
ngx_http_cardx_log_rewrite(ngx_http_request_t *r)
{
    ngx_http_cardx_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_cardx_module);

    if (clcf->card || clcf->redirect || clcf->events || clcf->private_log) {
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
