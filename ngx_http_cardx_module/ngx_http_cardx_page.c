
/*
 * The page that a browser gets when too much was refused to its address.
 * Other pages are made by a worker; here none may be asked.  It looks like
 * the workers' page of what is refused, and speaks their languages.
 */


#include "ngx_http_cardx.h"


#define ngx_http_cardx_page_text(lang, title, text)                           \
    ngx_string("<!DOCTYPE html>\n<html lang=\"" lang "\">\n<head>\n"          \
               "<meta charset=\"utf-8\">\n"                                   \
               "<meta name=\"viewport\" content=\"width=device-width, "       \
               "initial-scale=1\">\n"                                         \
               "<meta name=\"robots\" content=\"noindex, nofollow\">\n"       \
               "<meta name=\"color-scheme\" content=\"light dark\">\n"        \
               "<link rel=\"icon\" type=\"image/svg+xml\" "                   \
               "href=\"/static/icon.svg\">\n"                                 \
               "<link rel=\"stylesheet\" href=\"/static/card.css\">\n"        \
               "<title>" title "</title>\n</head>\n"                          \
               "<body class=\"refused\">\n<main>"                             \
               "<span class=\"icon lock\" aria-hidden=\"true\"></span>\n"     \
               "<h1>" title "</h1>\n<p>" text "</p></main>\n"                 \
               "<footer><span class=\"mark\">cardx</span></footer>\n"         \
               "</body>\n</html>\n")


typedef struct {
    ngx_str_t   tag;
    ngx_str_t   page;
} ngx_http_cardx_page_t;


static ngx_http_cardx_page_t  ngx_http_cardx_page_en = {
    ngx_string("en"),
    ngx_http_cardx_page_text("en", "Please wait a moment",
                             "Too many cards could not be opened from your "
                             "network. Try again in a minute.")
};

static ngx_http_cardx_page_t  ngx_http_cardx_page_zh = {
    ngx_string("zh-Hans"),
    ngx_http_cardx_page_text("zh-Hans", "请稍候",
                             "您所在的网络有过多名片无法打开。请一分钟后再试。")
};

static ngx_str_t  ngx_http_cardx_page_type =
    ngx_string("text/html; charset=utf-8");

static ngx_keyval_t  ngx_http_cardx_page_headers[] = {

    { ngx_string("Cache-Control"), ngx_string("no-store") },

    { ngx_string("Content-Security-Policy"),
      ngx_string("default-src 'none'; img-src 'self'; style-src 'self'; "
                 "base-uri 'none'; form-action 'none'; "
                 "frame-ancestors 'none'") },

    { ngx_null_string, ngx_null_string }
};


static ngx_http_cardx_page_t *
ngx_http_cardx_page_choose(ngx_http_request_t *r)
{
    char              *value;
    ngx_table_elt_t   *h;
    static ngx_str_t   name = ngx_string("accept-language");

    h = ngx_http_cardx_find_header(r, &name, NULL);

    if (h == NULL) {
        return &ngx_http_cardx_page_en;
    }

    value = (char *) h->value.data;

    return (cx_accept_language(value, h->value.len, "zh")
            > cx_accept_language(value, h->value.len, "en"))
           ? &ngx_http_cardx_page_zh : &ngx_http_cardx_page_en;
}


/* Retry-After is the caller's. */

ngx_int_t
ngx_http_cardx_page_too_many(ngx_http_request_t *r)
{
    ngx_http_cardx_page_t  *page;
    static ngx_str_t        language = ngx_string("Content-Language");

    page = ngx_http_cardx_page_choose(r);

    if (ngx_http_cardx_add_headers(r, ngx_http_cardx_page_headers) != NGX_OK
        || ngx_http_cardx_add_header(r, &language, &page->tag) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_TOO_MANY_REQUESTS;

    return ngx_http_cardx_send(r, &ngx_http_cardx_page_type, page->page.data,
                               page->page.len);
}
