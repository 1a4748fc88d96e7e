/*
 * Ids, keys and tokens: how they are drawn, written and checked.
 *
 * An id is 16 random bytes and a tag of 5 bytes, the start of
 * HMAC-SHA-256(id key, kind || random bytes), in base64url: 28 characters.
 * Who guesses an id gets the tag wrong, and is refused without asking
 * anyone.  A card key (A2) is 16 random bytes in base32; it has no tag,
 * since it is only ever compared with what is stored.  A token carries its
 * user and terminal, so that everything about it is found from itself.
 *
 * Nothing here allocates.  Functions return 0 when they succeed and -1
 * otherwise; none of them logs.
 */

#ifndef CX_ID_H
#define CX_ID_H

#include <stddef.h>
#include <stdint.h>

#define CX_RANDOM_LEN 16
#define CX_TAG_LEN 5
#define CX_ID_LEN 28     /* characters, without the closing NUL */
#define CX_KEY_LEN 26    /* characters */
#define CX_TOKEN_RAW 57  /* bytes */
#define CX_TOKEN_LEN 76  /* characters */
#define CX_SECRET_LEN 32 /* bytes: the id key, a SHA-256, a token's secret */
#define CX_HASH_NAME 32  /* characters: a hash as part of a Redis name */
#define CX_TERMINAL_MAX 999999999u

/* What an id is for; part of its tag, so that one can't pass for another. */
typedef enum {
    CX_ID_USER = 'u',
    CX_ID_CARD = 'c',
    CX_ID_KEY = 'k',
    CX_ID_THUMBNAIL = 't',
    CX_ID_MEDIA = 'm',
    CX_ID_REGISTRATION = 'r',
    CX_ID_APPROVAL = 'p',
    CX_ID_SMS = 's',
    CX_ID_PUSH = 'w',
    CX_ID_CONTACT = 'o'
} cx_id_kind_t;

/* What a token opens; part of its tag. */
typedef enum {
    CX_TOKEN_ACCESS = 'A',
    CX_TOKEN_REFRESH = 'R',
    CX_TOKEN_TICKET = 'E'
} cx_token_kind_t;

/* The id key with its HMAC pads already hashed; opaque, made once. */
typedef struct {
    unsigned char inner[128];
    unsigned char outer[128];
} cx_id_key_t;

typedef struct {
    char user_id[CX_ID_LEN + 1];
    uint32_t terminal_id;
    unsigned char hash[CX_SECRET_LEN]; /* SHA-256 of the token's bytes */
} cx_token_t;

/* Prepares the id key from 64 hex digits (more text after them must be white
 * space).  -1: not a key. */
int cx_id_key_parse(cx_id_key_t *key, const char *hex, size_t len);

/* Draws a new id; `out` takes CX_ID_LEN + 1 bytes.  -1: no randomness. */
int cx_id_new(const cx_id_key_t *key, cx_id_kind_t kind, char *out);

/* 0 if the `len` bytes at `text` are an id of this kind with a right tag. */
int cx_id_check(const cx_id_key_t *key, cx_id_kind_t kind, const char *text,
                size_t len);

/* Draws a card key; `out` takes CX_KEY_LEN + 1 bytes, `hash` CX_SECRET_LEN. */
int cx_card_key_new(char *out, unsigned char *hash);

/* Reads a card key in either case, and gives its SHA-256.  -1: not a key
 * (length, alphabet, or bits set after the 128th). */
int cx_card_key_hash(const char *text, size_t len, unsigned char *hash);

/* A token for a user's terminal; `secret` is CX_SECRET_LEN random bytes, or
 * NULL to draw them.  `out` takes CX_TOKEN_LEN + 1 bytes. */
int cx_token_new(const cx_id_key_t *key, cx_token_kind_t kind,
                 const char *user_id, uint32_t terminal_id,
                 const unsigned char *secret, char *out, cx_token_t *token);

/* Reads a token and checks its tag; says nothing of whether it is still good.
 * -1: not a token of this kind. */
int cx_token_parse(const cx_id_key_t *key, cx_token_kind_t kind,
                   const char *text, size_t len, cx_token_t *token);

/* A ticket stands for an access token where only an address can be given:
 * its secret is the token's hash, so it is good for as long as that, and what
 * is read from it is the token itself.  `out` takes CX_TOKEN_LEN + 1 bytes. */
int cx_ticket_new(const cx_id_key_t *key, const cx_token_t *access, char *out);
int cx_ticket_parse(const cx_id_key_t *key, const char *text, size_t len,
                    cx_token_t *access);

/* The hash of what may be a token, without its tag's check: for who knows
 * hashes of tokens that were checked.  `terminal_id` is who it would be of.
 * -1: it can't be one. */
int cx_token_hash(const char *text, size_t len, unsigned char *hash,
                  uint32_t *terminal_id);

/* The name of a hash in Redis: the first 16 bytes in lower-case hex, and NUL;
 * `out` takes CX_HASH_NAME + 1 bytes. */
void cx_hash_name(const unsigned char *hash, char *out);

/* Lower-case hex of `len` bytes and NUL; `out` takes 2 * len + 1 bytes. */
void cx_hex(const unsigned char *bytes, size_t len, char *out);

/* The reverse: 2 * len hex digits in either case, `out` takes len bytes.  -1:
 * something else stands there. */
int cx_hex_read(const char *hex, size_t len, unsigned char *out);

/* base64url without padding (RFC 4648, 5) and NUL.  Returns the length. */
size_t cx_base64url(const unsigned char *bytes, size_t len, char *out);

/* The reverse; `out` takes len * 3 / 4 bytes.  Returns the number of bytes,
 * or -1 if the text is not canonical base64url. */
int cx_base64url_read(const char *text, size_t len, unsigned char *out);

#endif
