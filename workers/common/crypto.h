/*
 * What is kept secret at rest, by OpenSSL and crypt_r.
 */

#ifndef CX_CRYPTO_H
#define CX_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <talloc.h>

#include "settings.h"

/* The purpose that users' data keys are wrapped for, about their user's id. */
#define CX_DATA_KEY "data-key"

/* HMAC-SHA-256 under a key derived from the master key for `purpose` (as
 * "code", "refresh"): for short codes and for successors of tokens.  `out`
 * takes 32 bytes. */
bool cx_hmac(const cx_settings_t *settings, const char *purpose,
             const void *bytes, size_t len, unsigned char *out);

/* AES-256-GCM: nonce (12) | ciphertext | tag (16), owned by ctx; the key is
 * 32 bytes, `about` is authenticated beside it (what the text belongs to, as
 * a row's id).  NULL: failed; for open: not ours, or altered. */
unsigned char *cx_seal(TALLOC_CTX *ctx, const unsigned char *key,
                       const char *about, const void *bytes, size_t len,
                       size_t *sealed_len);
unsigned char *cx_open(TALLOC_CTX *ctx, const unsigned char *key,
                       const char *about, const unsigned char *sealed,
                       size_t sealed_len, size_t *len);

/* The same under a key for `purpose` from the master key; open: or from the
 * other one (other_master_key_file), while one takes the other's place.
 * is_ours: whether it is the master key's already. */
unsigned char *cx_master_seal(TALLOC_CTX *ctx, const cx_settings_t *settings,
                              const char *purpose, const char *about,
                              const void *bytes, size_t len,
                              size_t *sealed_len);
unsigned char *cx_master_open(TALLOC_CTX *ctx, const cx_settings_t *settings,
                              const char *purpose, const char *about,
                              const unsigned char *sealed, size_t sealed_len,
                              size_t *len);
bool cx_master_is_ours(const cx_settings_t *settings, const char *purpose,
                       const char *about, const unsigned char *sealed,
                       size_t sealed_len);

/* A key of 32 bytes for `purpose`, from the master key (HKDF-SHA-256). */
bool cx_derive(const cx_settings_t *settings, const char *purpose,
               unsigned char *out);
/* The same from any secret bytes. */
bool cx_derive_from(const void *secret, size_t len, const char *purpose,
                    unsigned char *out);

/* Passwords: yescrypt.  hash: owned by ctx, NULL on failure.  check: takes the
 * same time when `hash` is NULL (no such account). */
char *cx_password_hash(TALLOC_CTX *ctx, const char *password);
bool cx_password_check(const char *password, const char *hash);

/* `n` characters of base 32 without those that look alike, for people to
 * read; false: no randomness.  `out` takes n + 1 bytes. */
bool cx_random_readable(char *out, size_t n);
/* `n` decimal digits. */
bool cx_random_digits(char *out, size_t n);

#endif
