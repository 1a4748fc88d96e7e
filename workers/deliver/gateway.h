/*
 * Gateways: who carries an SMS.
 *
 * None has idempotency, so the difference between "certainly not called" and
 * "perhaps" is kept: only the first may be tried again.  Neither number nor
 * text is ever logged.
 */

#ifndef CX_GATEWAY_H
#define CX_GATEWAY_H

#include <talloc.h>

#include "settings.h"

typedef enum {
    CX_GATEWAY_SENT,       /* it took the message */
    CX_GATEWAY_REFUSED,    /* it will not, and said so */
    CX_GATEWAY_NOT_CALLED, /* certainly not taken: try again */
    CX_GATEWAY_DOUBTFUL    /* perhaps: never again */
} cx_gateway_rc_t;

/* id: of the message, for reports about it; `to` is E.164, `text` UTF-8. */
typedef cx_gateway_rc_t (*cx_gateway_t)(const cx_settings_t *settings,
                                        TALLOC_CTX *ctx, const char *id,
                                        const char *to, const char *text);

/* A line {"to","text","at"} in the file sms_log. */
cx_gateway_rc_t cx_gateway_log(const cx_settings_t *settings, TALLOC_CTX *ctx,
                               const char *id, const char *to,
                               const char *text);

/* Kannel's sendsms over HTTP (Kannel 1.4.5 User's Guide, "Using HTTP
 * interface to send SMS messages"). */
cx_gateway_rc_t cx_gateway_kannel(const cx_settings_t *settings,
                                  TALLOC_CTX *ctx, const char *id,
                                  const char *to, const char *text);

#endif
