#include "api.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cx_accept.h"
#include "cx_jscontact.h"

#define NAME_MAX_LEN 64 /* bytes, of a header or a member of a body */


/* What nginx has sent, be it empty; NULL: nothing. */
static const char *
sent(const cx_request_t *r, const char *name)
{
    char **p;
    size_t len;

    len = strlen(name);

    for (p = r->environment; *p != NULL; p++) {
        if (strncmp(*p, name, len) == 0 && (*p)[len] == '=') {
            return *p + len + 1;
        }
    }

    return NULL;
}


const char *
cx_parameter(const cx_request_t *r, const char *name)
{
    const char *value;

    value = sent(r, name);

    return value != NULL && *value != '\0' ? value : NULL;
}


/* "Text/VCard; charset=utf-8" is "text/vcard". */
static const char *
media_type(TALLOC_CTX *ctx, const char *header)
{
    char *type, *p;

    type = talloc_strdup(ctx, header != NULL ? header : "");

    for (p = type; *p != '\0' && strchr("; \t", *p) == NULL; p++) {
        *p = (char) tolower((unsigned char) *p);
    }

    *p = '\0';

    return type;
}


cx_request_t *
cx_request_make(cx_api_t *api, char **environment)
{
    char *query;
    const char *uri, *method, *address;
    cx_request_t *r;

    r = talloc_zero(NULL, cx_request_t);
    if (r == NULL) {
        return NULL;
    }

    r->api = api;
    r->scratch = r;
    r->environment = environment;

    method = cx_parameter(r, "REQUEST_METHOD");
    uri = cx_parameter(r, "REQUEST_URI");
    address = cx_parameter(r, "REMOTE_ADDR");

    r->method = method != NULL ? method : "";
    r->address = address != NULL ? address : "";
    r->type = media_type(r, cx_parameter(r, "CONTENT_TYPE"));
    r->body = "";

    /* an absolute form (RFC 9112, 3.2.2) reaches us as it was sent */
    uri = uri != NULL ? uri : "/";

    if (uri[0] != '/') {
        uri = strstr(uri, "://");
        uri = uri != NULL ? strchr(uri + 3, '/') : NULL;
        uri = uri != NULL ? uri : "/";
    }

    r->path = talloc_strdup(r, uri);
    query = strchr(r->path, '?');

    if (query != NULL) {
        *query++ = '\0';
    }

    r->query = query != NULL ? query : "";

    return r;
}


const char *
cx_header_sent(const cx_request_t *r, const char *name)
{
    size_t i;
    char parameter[NAME_MAX_LEN] = "HTTP_";

    for (i = 0; name[i] != '\0' && i + 6 < sizeof(parameter); i++) {
        parameter[i + 5] =
            name[i] == '-' ? '_' : (char) toupper((unsigned char) name[i]);
    }

    parameter[i + 5] = '\0';

    return sent(r, parameter);
}


const char *
cx_header(const cx_request_t *r, const char *name)
{
    const char *value;

    value = cx_header_sent(r, name);

    return value != NULL && *value != '\0' ? value : NULL;
}


const char *
cx_language(const cx_request_t *r)
{
    size_t len;
    const char *header;

    header = cx_header(r, "Accept-Language");
    if (header == NULL) {
        return "en";
    }

    len = strlen(header);

    return cx_accept_language(header, len, "zh")
                   > cx_accept_language(header, len, "en")
               ? "zh"
               : "en";
}


char *
cx_percent_decode(TALLOC_CTX *ctx, const char *text, size_t len)
{
    size_t i;
    char *out, *p;
    unsigned char byte;

    out = talloc_array(ctx, char, len + 1);
    p = out;

    for (i = 0; i < len; i++) {
        if (text[i] != '%') {
            *p++ = text[i];
            continue;
        }

        if (len - i < 3 || cx_hex_read(text + i + 1, 1, &byte) != 0
            || byte == 0) {
            return NULL;
        }

        *p++ = (char) byte;
        i += 2;
    }

    *p = '\0';

    return out;
}


/* A query's value, where + is a space. */
static const char *
argument_value(cx_request_t *r, const char *text, size_t len)
{
    size_t i;
    char *copy;

    copy = talloc_strndup(r, text, len);

    for (i = 0; i < len; i++) {
        if (copy[i] == '+') {
            copy[i] = ' ';
        }
    }

    copy = cx_percent_decode(r, copy, len);

    /* what can't be decoded is there, and nothing that anybody takes */
    return copy != NULL ? copy : "";
}


const char *
cx_argument(cx_request_t *r, const char *name)
{
    size_t len, name_len;
    const char *p;

    name_len = strlen(name);

    for (p = r->query; *p != '\0'; p += len + (p[len] == '&')) {
        len = strcspn(p, "&");

        if (len > name_len && strncmp(p, name, name_len) == 0
            && p[name_len] == '=') {
            return argument_value(r, p + name_len + 1, len - name_len - 1);
        }
    }

    return NULL;
}


/* Lists go by ids, or (kind 0) by numbers. */
static bool
is_cursor(const cx_request_t *r, cx_id_kind_t kind, const char *cursor)
{
    size_t len;

    len = strlen(cursor);

    return kind != 0
               ? cx_id_check(&r->api->settings->id_key, kind, cursor, len) == 0
               : len >= 1 && len <= 18 && strspn(cursor, "0123456789") == len;
}


bool
cx_page(cx_request_t *r, int limit_max, cx_id_kind_t kind, int *limit,
        const char **cursor)
{
    long n;
    char *end;
    const char *text;

    *limit = limit_max;
    text = cx_argument(r, "limit");

    if (text != NULL) {
        n = strtol(text, &end, 10);

        if (*text == '\0' || *end != '\0' || n < 1 || n > limit_max) {
            cx_problem(r, 422, "invalid_limit",
                       "`limit` is a number from 1 to %d.", limit_max);
            return false;
        }

        *limit = (int) n;
    }

    *cursor = cx_argument(r, "cursor");

    if (*cursor != NULL && !is_cursor(r, kind, *cursor)) {
        cx_problem(r, 422, "invalid_cursor",
                   "`cursor` is not one that a list has given.");
        return false;
    }

    return true;
}


static bool
wrong(cx_request_t *r, const char *name, const char *expected)
{
    char code[NAME_MAX_LEN];

    snprintf(code, sizeof(code), "invalid_%s", name);
    cx_problem(r, 422, code, "`%s` must be %s.", name, expected);

    return false;
}


bool
cx_body_only(cx_request_t *r, const char *const *names, const char *code,
             const char *detail)
{
    size_t i, j;

    for (i = 0; i < r->json->n; i++) {
        for (j = 0;
             names[j] != NULL && strcmp(names[j], r->json->items[i]->name) != 0;
             j++) {
            /* void */
        }

        if (names[j] == NULL) {
            cx_problem(r, 422, code, "%s", detail);
            return false;
        }
    }

    return true;
}


bool
cx_body_text(cx_request_t *r, const char *name, size_t max, const char **text)
{
    const cx_json_t *value;

    *text = NULL;
    value = cx_json_get(r->json, name);

    if (value == NULL || value->type == CX_JSON_NULL) {
        return true;
    }

    if (value->type != CX_JSON_STRING || value->len == 0 || value->len > max) {
        return wrong(r, name,
                     talloc_asprintf(r, "a string of 1 to %zu bytes", max));
    }

    *text = value->text;

    return true;
}


bool
cx_body_integer(cx_request_t *r, const char *name, int64_t min, int64_t max,
                int64_t absent, int64_t *number)
{
    const cx_json_t *value;

    *number = absent;
    value = cx_json_get(r->json, name);

    if (value == NULL || value->type == CX_JSON_NULL) {
        return true;
    }

    if (!cx_json_to_integer(value, number) || *number < min || *number > max) {
        return wrong(r, name,
                     talloc_asprintf(r, "a whole number from %lld to %lld",
                                     (long long) min, (long long) max));
    }

    return true;
}


bool
cx_body_boolean(cx_request_t *r, const char *name, bool absent, bool *value)
{
    const cx_json_t *json;

    *value = absent;
    json = cx_json_get(r->json, name);

    if (json == NULL || json->type == CX_JSON_NULL) {
        return true;
    }

    if (json->type != CX_JSON_BOOLEAN) {
        return wrong(r, name, "true or false");
    }

    *value = json->boolean;

    return true;
}


bool
cx_take_fields(cx_request_t *r, const cx_json_t *list, char ***fields)
{
    const char *why;

    why = cx_fields_read(r, list, fields);

    if (why == NULL) {
        why = cx_fields_check(r, list);
    }

    if (why != NULL) {
        cx_problem(r, 422, "invalid_fields", "%s", why);
        return false;
    }

    return true;
}


static bool
is_one_of(const char *type, const char *first, const char *second)
{
    return strcmp(type, first) == 0
           || (second != NULL && strcmp(type, second) == 0);
}


static bool
right_type(const cx_request_t *r)
{
    unsigned flags = r->route->flags;

    if (flags & CX_PATCH_BODY) {
        return is_one_of(r->type, "application/merge-patch+json",
                         "application/json");
    }

    return is_one_of(r->type, "application/json",
                     flags & CX_CARD_BODY ? "application/jscontact+json"
                                          : NULL);
}


/* Nothing is unpacked here, and all JSON is UTF-8 (RFC 8259, 8.1). */
static bool
is_plain(const cx_request_t *r)
{
    const char *encoding, *charset;

    encoding = cx_header(r, "Content-Encoding");
    charset = cx_parameter(r, "CONTENT_TYPE");
    charset = charset != NULL ? strcasestr(charset, "charset=") : NULL;

    if (charset != NULL) {
        charset += strlen("charset=");
        charset += *charset == '"' ? 1 : 0;
    }

    return (encoding == NULL || strcasecmp(encoding, "identity") == 0)
           && (charset == NULL || strncasecmp(charset, "utf-8", 5) == 0
               || strncasecmp(charset, "us-ascii", 8) == 0);
}


bool
cx_read_body(cx_request_t *r)
{
    const char *why;

    if (r->body_len > 0 && !is_plain(r)) {
        cx_problem(r, 415, "unsupported_type",
                   "The body must be UTF-8, and not compressed.");
        return false;
    }

    if (!(r->route->flags & (CX_JSON_BODY | CX_CARD_BODY | CX_PATCH_BODY))) {
        return true;
    }

    if (r->body_len == 0 && (r->route->flags & CX_JSON_BODY)) {
        r->json = cx_json_object(r);
        return true;
    }

    if (!right_type(r)) {
        cx_problem(
            r, 415, "unsupported_type", "The body must be %s.",
            r->route->flags & CX_PATCH_BODY  ? "application/merge-patch+json"
            : r->route->flags & CX_CARD_BODY ? "application/jscontact+json"
                                             : "application/json");
        return false;
    }

    r->json = cx_json_read(r, r->body, r->body_len, &why);

    if (r->json == NULL) {
        cx_problem(r, 400, "invalid_json", "%s", why);
        return false;
    }

    if (r->json->type != CX_JSON_OBJECT) {
        cx_problem(r, 422, "invalid_body", "The body must be an object.");
        return false;
    }

    return true;
}
