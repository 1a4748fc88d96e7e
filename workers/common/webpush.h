/*
 * Web Push: the server's key (VAPID, RFC 8292) and the encryption of a
 * message for one subscription (RFC 8291, RFC 8188), by OpenSSL.
 */

#ifndef CX_WEBPUSH_H
#define CX_WEBPUSH_H

#include <stdbool.h>
#include <stddef.h>
#include <openssl/evp.h>
#include <talloc.h>

#include "settings.h"

#define CX_POINT_LEN 65 /* a P-256 point, uncompressed (X9.62) */
#define CX_PUSH_AUTH_LEN 16
#define CX_PUSH_SALT_LEN 16
#define CX_PUSH_TEXT_MAX 3072 /* services take bodies of 4 096 (RFC 8030, 7) */

/* The key with which this server signs: a P-256 pair that follows from the
 * master key, so there is no further secret to keep.  It belongs to the
 * caller, EVP_PKEY_free() ends it; `point` takes CX_POINT_LEN bytes.  NULL:
 * OpenSSL failed. */
EVP_PKEY *cx_vapid_key(const cx_settings_t *settings, unsigned char *point);

/* The Authorization header's value for a push service, good for 12 hours
 * from `now` (s): `origin` is the service's, `subject` an https or mailto
 * address of the operator (RFC 8292, 2.1).  Owned by ctx; NULL: failed. */
char *cx_vapid_authorization(TALLOC_CTX *ctx, EVP_PKEY *key,
                             const unsigned char *point, const char *origin,
                             const char *subject, int64_t now);

/* True if it is a point of P-256 that a message can be encrypted for. */
bool cx_push_point_good(const unsigned char *point);

/* A message for the subscription with the user agent's public key and
 * authentication secret; the body of the POST, Content-Encoding aes128gcm,
 * owned by ctx.  `len` is at most CX_PUSH_TEXT_MAX.  NULL: failed. */
unsigned char *cx_push_encrypt(TALLOC_CTX *ctx, const unsigned char *ua_point,
                               const unsigned char *auth, const void *text,
                               size_t len, size_t *body_len);

/* The same with a given key of the sender and salt, which must never be used
 * twice: for the example of RFC 8291, appendix A. */
unsigned char *cx_push_encrypt_with(TALLOC_CTX *ctx, EVP_PKEY *sender,
                                    const unsigned char *salt,
                                    const unsigned char *ua_point,
                                    const unsigned char *auth, const void *text,
                                    size_t len, size_t *body_len);

/* A P-256 key from its secret number (32 bytes, big-endian); as above. */
EVP_PKEY *cx_p256_key(const unsigned char *secret, unsigned char *point);

#endif
