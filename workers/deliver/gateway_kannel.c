#include "gateway.h"

#include <string.h>
#include <curl/curl.h>

#include "cx_buf.h"
#include "log.h"

/* s; less than a claim of the outbox lasts, and than the supervisor waits for
 * a worker that it stops */
#define CONNECT_TIMEOUT 3L
#define TIMEOUT 10L


static size_t
discard(char *bytes, size_t size, size_t n, void *data)
{
    (void) bytes;
    (void) data;

    return size * n;
}


static void
add(cx_buf_t *url, CURL *curl, const char *name, const char *value)
{
    char *escaped;

    escaped = cx_must(curl_easy_escape(curl, value, 0));
    cx_buf_putc(url, strchr(cx_buf_text(url), '?') == NULL ? '?' : '&');
    cx_buf_puts(url, name);
    cx_buf_putc(url, '=');
    cx_buf_puts(url, escaped);
    curl_free(escaped);
}


static bool
is_ascii(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char) *text >= 0x80) {
            return false;
        }
    }

    return true;
}


/* A percent sign begins what Kannel fills in; two stand for one. */
static void
for_kannel(cx_buf_t *url, const char *escaped)
{
    for (; *escaped != '\0'; escaped++) {
        cx_buf_puts(url, *escaped == '%' ? "%%" : (char[]){ *escaped, '\0' });
    }
}


/* Asks for reports: what the gateway is to call, with its own %d for what
 * happened.  1: delivered, 2: not, 8: at the centre, 16: refused there. */
static void
add_report(cx_buf_t *url, const cx_settings_t *settings, TALLOC_CTX *ctx,
           CURL *curl, const char *id)
{
    char *secret;
    cx_buf_t report;

    if (settings->sms_report_url == NULL) {
        return;
    }

    secret = cx_must(curl_easy_escape(curl, settings->sms_secret, 0));

    cx_buf_init(&report, ctx);
    cx_buf_puts(&report, settings->sms_report_url);
    cx_buf_puts(&report, "?id=");
    cx_buf_puts(&report, id);
    cx_buf_puts(&report, "&type=%d&secret=");
    for_kannel(&report, secret);

    add(url, curl, "dlr-mask", "27");
    add(url, curl, "dlr-url", cx_buf_text(&report));

    curl_free(secret);
}


static char *
url_of(const cx_settings_t *settings, TALLOC_CTX *ctx, CURL *curl,
       const char *id, const char *to, const char *text)
{
    cx_buf_t url;

    cx_buf_init(&url, ctx);
    cx_buf_puts(&url, settings->sms_kannel_url);

    add(&url, curl, "username", settings->sms_kannel_user);
    add(&url, curl, "password", settings->sms_kannel_password);
    add(&url, curl, "from", settings->sms_from);
    add(&url, curl, "to", to);

    if (!is_ascii(text)) {
        add(&url, curl, "charset", "UTF-8");
        add(&url, curl, "coding", "2"); /* UCS-2 on the air */
    }

    add(&url, curl, "text", text);
    add_report(&url, settings, ctx, curl, id);

    return cx_buf_text(&url);
}


/* The call failed: did the gateway see any of it? */
static cx_gateway_rc_t
judge_failure(CURL *curl, CURLcode code)
{
    long sent;

    cx_warn("SMS gateway: %s", curl_easy_strerror(code));

    switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
        return CX_GATEWAY_NOT_CALLED;

    case CURLE_OPERATION_TIMEDOUT:
        sent = 1;
        (void) curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent);
        return sent == 0 ? CX_GATEWAY_NOT_CALLED : CX_GATEWAY_DOUBTFUL;

    default:
        return CX_GATEWAY_DOUBTFUL;
    }
}


static cx_gateway_rc_t
judge_answer(CURL *curl)
{
    long status;

    status = 0;
    (void) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);

    if (status >= 200 && status < 300) {
        return CX_GATEWAY_SENT; /* 202: accepted or queued */
    }

    cx_error("SMS gateway: answered %ld", status);

    if (status >= 400 && status < 500) {
        return CX_GATEWAY_REFUSED;
    }

    /* Kannel's "temporal failure, try again later": it kept nothing. */
    return status == 503 ? CX_GATEWAY_NOT_CALLED : CX_GATEWAY_DOUBTFUL;
}


cx_gateway_rc_t
cx_gateway_kannel(const cx_settings_t *settings, TALLOC_CTX *ctx,
                  const char *id, const char *to, const char *text)
{
    CURL *curl;
    CURLcode code;
    cx_gateway_rc_t rc;

    curl = cx_must(curl_easy_init());

    curl_easy_setopt(curl, CURLOPT_URL,
                     url_of(settings, ctx, curl, id, to, text));
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);

    /* curl sends a GET once more when a kept connection turns out to be dead:
     * a second SMS.  So none is kept. */
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);

    code = curl_easy_perform(curl);
    rc = code == CURLE_OK ? judge_answer(curl) : judge_failure(curl, code);
    curl_easy_cleanup(curl);

    return rc;
}
