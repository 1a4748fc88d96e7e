/*
 * A Web Push subscription as a browser gives it (PushSubscription.toJSON(),
 * W3C Push API), and as it is kept: sealed, since who has it may address the
 * user's browser.
 */

#ifndef CX_SUBSCRIPTION_H
#define CX_SUBSCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <talloc.h>

#include "settings.h"
#include "webpush.h"

#define CX_ENDPOINT_MAX 2048 /* bytes */

typedef struct {
    unsigned char point[CX_POINT_LEN]; /* keys.p256dh */
    unsigned char auth[CX_PUSH_AUTH_LEN];
    char endpoint[CX_ENDPOINT_MAX + 1];
} cx_subscription_t;

/* The origin of an https address (RFC 6454), owned by ctx, if its host is one
 * of push_hosts: this server calls no other address because a client says
 * so.  NULL: it is none. */
char *cx_push_origin(TALLOC_CTX *ctx, const cx_settings_t *settings,
                     const char *endpoint);

/* Owned by ctx; NULL: failed, or not sealed under this master key. */
unsigned char *cx_subscription_seal(TALLOC_CTX *ctx,
                                    const cx_settings_t *settings,
                                    const cx_subscription_t *subscription,
                                    size_t *len);
cx_subscription_t *cx_subscription_open(TALLOC_CTX *ctx,
                                        const cx_settings_t *settings,
                                        const unsigned char *sealed,
                                        size_t len);

#endif
