#include "subscription.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>
#include <curl/curl.h>
#include <openssl/crypto.h>

#include "crypto.h"

#define PURPOSE "push subscription"
#define FIXED offsetof(cx_subscription_t, endpoint)


/* One word of push_hosts: "host", "host:port", or ".domain" for what is below
 * it; without a port it is 443. */
static bool
word_matches(const char *word, size_t len, const char *host, const char *port)
{
    size_t host_len;
    const char *colon;

    host_len = strlen(host);
    colon = memchr(word, ':', len);

    if (colon != NULL) {
        if (strlen(port) != (size_t) (word + len - colon - 1)
            || memcmp(port, colon + 1, strlen(port)) != 0) {
            return false;
        }

        len = (size_t) (colon - word);

    } else if (strcmp(port, "443") != 0) {
        return false;
    }

    if (len > 0 && word[0] == '.') {
        return host_len > len
               && strncasecmp(host + host_len - len, word, len) == 0;
    }

    return host_len == len && strncasecmp(host, word, len) == 0;
}


static bool
is_allowed(const char *words, const char *host, const char *port)
{
    size_t len;

    for (; *words != '\0'; words += len) {
        words += strspn(words, " \t");
        len = strcspn(words, " \t");

        if (len > 0 && word_matches(words, len, host, port)) {
            return true;
        }
    }

    return false;
}


static bool
is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text >= 0x7f || strchr("\"\\<>^`{|}", *text)) {
            return false;
        }
    }

    return true;
}


char *
cx_push_origin(TALLOC_CTX *ctx, const cx_settings_t *settings,
               const char *endpoint)
{
    CURLU *url;
    char *origin, *scheme, *host, *port, *user;

    origin = scheme = host = port = user = NULL;
    url = curl_url();

    if (url != NULL && is_plain(endpoint)
        && curl_url_set(url, CURLUPART_URL, endpoint, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK
        && strcmp(scheme, "https") == 0
        && curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_NO_USER
        && curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK
        && curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)
               == CURLUE_OK
        && is_allowed(settings->push_hosts, host, port)) {
        origin = strcmp(port, "443") == 0
                     ? talloc_asprintf(ctx, "https://%s", host)
                     : talloc_asprintf(ctx, "https://%s:%s", host, port);
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    curl_url_cleanup(url);

    return origin;
}


unsigned char *
cx_subscription_seal(TALLOC_CTX *ctx, const cx_settings_t *settings,
                     const cx_subscription_t *subscription, size_t *len)
{
    return cx_master_seal(ctx, settings, PURPOSE, PURPOSE, subscription,
                          FIXED + strlen(subscription->endpoint), len);
}


cx_subscription_t *
cx_subscription_open(TALLOC_CTX *ctx, const cx_settings_t *settings,
                     const unsigned char *sealed, size_t len)
{
    unsigned char *bytes;
    cx_subscription_t *subscription;

    bytes = cx_master_open(ctx, settings, PURPOSE, PURPOSE, sealed, len, &len);

    if (bytes == NULL || len < FIXED || len > FIXED + CX_ENDPOINT_MAX) {
        return NULL;
    }

    subscription = talloc_zero(ctx, cx_subscription_t);

    if (subscription != NULL) {
        memcpy(subscription, bytes, len);
    }

    return subscription;
}
