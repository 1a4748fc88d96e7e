/*
 * cardx-push SETTINGS N: tells terminals that something has changed, through
 * their browsers' push services (F9; RFC 8030, 8291, 8292).  N tells the
 * processes of this kind apart.
 *
 * A push may be lost or come twice: it only says what to ask /v1/updates for.
 */

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <curl/curl.h>
#include <openssl/crypto.h>

#include "cx_buf.h"
#include "cx_json.h"
#include "log.h"
#include "outbox.h"
#include "process.h"
#include "push.sql.h"
#include "subscription.h"
#include "webpush.h"

/* s; together less than a claim of the outbox lasts */
#define CONNECT_TIMEOUT 3L
#define TIMEOUT 10L
#define RETRY_MAX 300
#define TTL "86400" /* a phone that was off for a day asks anyway */

typedef struct {
    const cx_settings_t *settings;
    cx_pg_t *pg;
    CURL *curl; /* keeps connections to push services */
    EVP_PKEY *key;
    unsigned char point[CX_POINT_LEN];
} push_t;


static size_t
discard(char *bytes, size_t size, size_t n, void *data)
{
    (void) bytes;
    (void) data;

    return size * n;
}


/* {"changes": [...], "more": true}. */
static char *
message(TALLOC_CTX *ctx, const PGresult *row, size_t *len)
{
    cx_buf_t text;

    cx_buf_init(&text, ctx);
    cx_buf_puts(&text, "{\"changes\":");
    cx_buf_puts(&text, cx_pg_text(row, 0, 3));
    cx_buf_puts(&text,
                cx_pg_true(row, 0, 4) ? ",\"more\":true}" : ",\"more\":false}");
    *len = text.len;

    return cx_buf_text(&text);
}


static struct curl_slist *
headers(push_t *p, TALLOC_CTX *ctx, const char *origin)
{
    size_t i;
    char *authorization;
    struct curl_slist *list, *more;
    const char *lines[] = { NULL,
                            "Content-Type: application/octet-stream",
                            "Content-Encoding: aes128gcm",
                            "TTL: " TTL,
                            "Urgency: normal",
                            "Topic: changes",
                            "Expect:" };

    authorization = cx_must(cx_vapid_authorization(
        ctx, p->key, p->point, origin, p->settings->public_url, time(NULL)));
    lines[0] =
        cx_must(talloc_asprintf(ctx, "Authorization: %s", authorization));
    list = NULL;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        more = cx_must(curl_slist_append(list, lines[i]));
        list = more;
    }

    return list;
}


/* The service's status, 0 if there was none. */
static long
post(push_t *p, TALLOC_CTX *ctx, const cx_subscription_t *to,
     const char *origin, const unsigned char *body, size_t len)
{
    long status;
    CURLcode code;
    struct curl_slist *list;

    status = 0;
    list = headers(p, ctx, origin);

    curl_easy_reset(p->curl);
    curl_easy_setopt(p->curl, CURLOPT_URL, to->endpoint);
    curl_easy_setopt(p->curl, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(p->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT);
    curl_easy_setopt(p->curl, CURLOPT_TIMEOUT, TIMEOUT);
    curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, discard);
    curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDSIZE, (long) len);
    curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, body);

    if (p->settings->push_ca_file != NULL) {
        curl_easy_setopt(p->curl, CURLOPT_CAINFO, p->settings->push_ca_file);
    }

    code = curl_easy_perform(p->curl);

    if (code == CURLE_OK) {
        (void) curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);

    } else {
        cx_warn("push: %s: %s", origin, curl_easy_strerror(code));
    }

    curl_slist_free_all(list);

    return status;
}


/* True: done with these changes. */
static bool
judge(push_t *p, TALLOC_CTX *ctx, const char *id, const char *origin,
      const char *up_to, long status)
{
    PGresult *result;

    if (status == 404 || status == 410) {
        cx_info("push %s: its subscription has ended", id);
        return cx_pg_query(p->pg, ctx, &result, &SQL_PUSH_END, id) == CX_PG_OK;
    }

    if (status == 0 || status == 408 || status == 429 || status >= 500) {
        if (status != 0) {
            cx_warn("push: %s answered %ld", origin, status);
        }

        return false;
    }

    if (status >= 300) {
        /* to say the same again would not help */
        cx_error("push %s: %s refused it: %ld", id, origin, status);
    }

    return cx_pg_query(p->pg, ctx, &result, &SQL_PUSH_SETTLE, id, up_to)
           == CX_PG_OK;
}


static bool
handle(void *data, TALLOC_CTX *ctx, const cx_outbox_item_t *item)
{
    push_t *p = data;
    char *text;
    size_t sealed_len, len, body_len;
    PGresult *row, *result;
    const char *origin;
    unsigned char *sealed, *body;
    cx_subscription_t *to;

    if (cx_pg_query(p->pg, ctx, &row, &SQL_PUSH_TAKE, item->object)
        != CX_PG_OK) {
        return false;
    }

    if (PQntuples(row) == 0 || strcmp(cx_pg_text(row, 0, 3), "[]") == 0) {
        return true;
    }

    origin = cx_pg_text(row, 0, 1);
    sealed = cx_pg_bytes(ctx, row, 0, 0, &sealed_len);
    to = sealed != NULL
             ? cx_subscription_open(ctx, p->settings, sealed, sealed_len)
             : NULL;

    if (to == NULL) {
        cx_error("push %s: it can't be opened: another master key?",
                 item->object);
        return cx_pg_query(p->pg, ctx, &result, &SQL_PUSH_END, item->object)
               == CX_PG_OK;
    }

    text = message(ctx, row, &len);
    body = cx_must(
        cx_push_encrypt(ctx, to->point, to->auth, text, len, &body_len));

    return judge(p, ctx, item->object, origin, cx_pg_text(row, 0, 2),
                 post(p, ctx, to, origin, body, body_len));
}


int
main(int argc, char **argv)
{
    int code;
    push_t p;
    char name[32];
    cx_outbox_t outbox;
    cx_settings_t *settings;

    settings = cx_process_start(argc, argv, "cardx-push");
    snprintf(name, sizeof(name), "push-%.8s", argc > 2 ? argv[2] : "0");

    p.settings = settings;
    p.pg = cx_pg_open(settings, settings->postgresql_fanout);
    p.key = cx_vapid_key(settings, p.point);

    if (p.key == NULL || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK
        || (p.curl = curl_easy_init()) == NULL) {
        cx_error("OpenSSL or libcurl can't be used");
        return 1;
    }

    outbox = (cx_outbox_t){
        .settings = settings,
        .pg = p.pg,
        .name = name,
        .effects = "{push}",
        .batch = 1, /* its call may take as long as a claim lasts */
        .retry_max = RETRY_MAX,
        .data = &p,
        .handle = handle,
    };

    code = cx_outbox_run(&outbox);

    curl_easy_cleanup(p.curl);
    curl_global_cleanup();
    EVP_PKEY_free(p.key);
    talloc_free(settings);

    return code;
}
