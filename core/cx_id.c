/* SHA-256 through its own state: an HMAC whose two pads are hashed already
 * costs two blocks, which EVP's layers would more than double. */
#define OPENSSL_API_COMPAT 10100

#include "cx_id.h"

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>


_Static_assert(sizeof(SHA256_CTX) <= 128, "a state fits the id key");


static const char base32_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
static const char base64url_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";


static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }

    return -1;
}


/* The value of each digit, and one more; 0: it is none.  Digits of ids are
 * random, so that comparing ranges would guess wrong at every other one. */
static const unsigned char base64url_digits[256] = {
    ['-'] = 63, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57,
    ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['A'] = 1,
    ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,
    ['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13,
    ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19,
    ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25,
    ['Z'] = 26, ['_'] = 64, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30,
    ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36,
    ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40, ['o'] = 41, ['p'] = 42,
    ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
    ['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52,
};

static const unsigned char base32_digits[256] = {
    ['2'] = 27, ['3'] = 28, ['4'] = 29, ['5'] = 30, ['6'] = 31, ['7'] = 32,
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,
    ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12,
    ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18,
    ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
    ['Y'] = 25, ['Z'] = 26, ['a'] = 1,  ['b'] = 2,  ['c'] = 3,  ['d'] = 4,
    ['e'] = 5,  ['f'] = 6,  ['g'] = 7,  ['h'] = 8,  ['i'] = 9,  ['j'] = 10,
    ['k'] = 11, ['l'] = 12, ['m'] = 13, ['n'] = 14, ['o'] = 15, ['p'] = 16,
    ['q'] = 17, ['r'] = 18, ['s'] = 19, ['t'] = 20, ['u'] = 21, ['v'] = 22,
    ['w'] = 23, ['x'] = 24, ['y'] = 25, ['z'] = 26,
};


/* Bytes as digits of `bits` bits each, and NUL; what is left of the last
 * digit is zero.  Returns the length. */
static size_t
digits_write(const char *alphabet, unsigned bits, const unsigned char *bytes,
             size_t len, char *out)
{
    size_t i;
    char *p;
    unsigned acc, left;

    p = out;
    acc = 0;
    left = 0;

    for (i = 0; i < len; i++) {
        acc = (acc << 8 | bytes[i]) & 0xffff;
        left += 8;

        while (left >= bits) {
            left -= bits;
            *p++ = alphabet[acc >> left & ((1u << bits) - 1)];
        }
    }

    if (left > 0) {
        *p++ = alphabet[acc << (bits - left) & ((1u << bits) - 1)];
    }

    *p = '\0';

    return (size_t) (p - out);
}


/* The reverse; the number of bytes, or -1: not what digits_write() writes. */
static int
digits_read(const unsigned char *digits, unsigned bits, const char *text,
            size_t len, unsigned char *out)
{
    int n;
    size_t i;
    unsigned acc, digit, left;

    n = 0;
    acc = 0;
    left = 0;

    for (i = 0; i < len; i++) {
        digit = digits[(unsigned char) text[i]];
        if (digit == 0) {
            return -1;
        }

        acc = (acc << bits | (digit - 1)) & 0xffff;
        left += bits;

        if (left >= 8) {
            left -= 8;
            out[n++] = (unsigned char) (acc >> left);
        }
    }

    return left < bits && (acc & ((1u << left) - 1)) == 0 ? n : -1;
}


int
cx_id_key_parse(cx_id_key_t *key, const char *hex, size_t len)
{
    size_t i;
    unsigned char pad[SHA256_CBLOCK] = { 0 };
    SHA256_CTX sha;

    if (len < 2 * CX_SECRET_LEN || cx_hex_read(hex, CX_SECRET_LEN, pad) != 0) {
        return -1;
    }

    for (i = 2 * CX_SECRET_LEN; i < len; i++) {
        if (strchr(" \t\r\n", hex[i]) == NULL) {
            return -1;
        }
    }

    for (i = 0; i < sizeof(pad); i++) {
        pad[i] ^= 0x36;
    }

    SHA256_Init(&sha);
    SHA256_Update(&sha, pad, sizeof(pad));
    memcpy(key->inner, &sha, sizeof(sha));

    for (i = 0; i < sizeof(pad); i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }

    SHA256_Init(&sha);
    SHA256_Update(&sha, pad, sizeof(pad));
    memcpy(key->outer, &sha, sizeof(sha));

    OPENSSL_cleanse(pad, sizeof(pad));
    OPENSSL_cleanse(&sha, sizeof(sha));

    return 0;
}


/* SHA256() of OpenSSL 3 looks its algorithm up each time, for six times the
 * cost of the sum itself. */
static void
sum(const unsigned char *bytes, size_t len, unsigned char *out)
{
    SHA256_CTX sha;

    SHA256_Init(&sha);
    SHA256_Update(&sha, bytes, len);
    SHA256_Final(out, &sha);
}


/* The first CX_TAG_LEN bytes of HMAC-SHA-256 (RFC 2104). */
static void
tag(const cx_id_key_t *key, char kind, const unsigned char *bytes, size_t len,
    unsigned char *out)
{
    SHA256_CTX sha;
    unsigned char digest[SHA256_DIGEST_LENGTH];

    memcpy(&sha, key->inner, sizeof(sha));
    SHA256_Update(&sha, &kind, 1);
    SHA256_Update(&sha, bytes, len);
    SHA256_Final(digest, &sha);

    memcpy(&sha, key->outer, sizeof(sha));
    SHA256_Update(&sha, digest, sizeof(digest));
    SHA256_Final(digest, &sha);

    memcpy(out, digest, CX_TAG_LEN);
}


int
cx_id_new(const cx_id_key_t *key, cx_id_kind_t kind, char *out)
{
    unsigned char raw[CX_RANDOM_LEN + CX_TAG_LEN];

    if (RAND_bytes(raw, CX_RANDOM_LEN) != 1) {
        return -1;
    }

    tag(key, (char) kind, raw, CX_RANDOM_LEN, raw + CX_RANDOM_LEN);
    cx_base64url(raw, sizeof(raw), out);

    return 0;
}


int
cx_id_check(const cx_id_key_t *key, cx_id_kind_t kind, const char *text,
            size_t len)
{
    unsigned char raw[CX_RANDOM_LEN + CX_TAG_LEN], right[CX_TAG_LEN];

    if (len != CX_ID_LEN || cx_base64url_read(text, len, raw) < 0) {
        return -1;
    }

    tag(key, (char) kind, raw, CX_RANDOM_LEN, right);

    return CRYPTO_memcmp(raw + CX_RANDOM_LEN, right, CX_TAG_LEN) ? -1 : 0;
}


int
cx_card_key_new(char *out, unsigned char *hash)
{
    unsigned char raw[CX_RANDOM_LEN];

    if (RAND_bytes(raw, sizeof(raw)) != 1) {
        return -1;
    }

    (void) digits_write(base32_alphabet, 5, raw, sizeof(raw), out);
    sum(raw, sizeof(raw), hash);
    OPENSSL_cleanse(raw, sizeof(raw));

    return 0;
}


int
cx_card_key_hash(const char *text, size_t len, unsigned char *hash)
{
    unsigned char raw[CX_RANDOM_LEN];

    if (len != CX_KEY_LEN
        || digits_read(base32_digits, 5, text, len, raw) == -1) {
        return -1;
    }

    sum(raw, sizeof(raw), hash);

    return 0;
}


static uint32_t
token_terminal(const unsigned char *raw)
{
    return (uint32_t) raw[16] << 24 | (uint32_t) raw[17] << 16
           | (uint32_t) raw[18] << 8 | raw[19];
}


static void
token_fill(cx_token_t *token, const cx_id_key_t *key, const unsigned char *raw)
{
    unsigned char user[CX_RANDOM_LEN + CX_TAG_LEN];

    memcpy(user, raw, CX_RANDOM_LEN);
    tag(key, CX_ID_USER, user, CX_RANDOM_LEN, user + CX_RANDOM_LEN);
    cx_base64url(user, sizeof(user), token->user_id);

    token->terminal_id = token_terminal(raw);
    sum(raw, CX_TOKEN_RAW, token->hash);
}


int
cx_token_new(const cx_id_key_t *key, cx_token_kind_t kind, const char *user_id,
             uint32_t terminal_id, const unsigned char *secret, char *out,
             cx_token_t *token)
{
    unsigned char user[CX_RANDOM_LEN + CX_TAG_LEN], raw[CX_TOKEN_RAW];

    if (strlen(user_id) != CX_ID_LEN
        || cx_base64url_read(user_id, CX_ID_LEN, user) < 0) {
        return -1;
    }

    memcpy(raw, user, CX_RANDOM_LEN);
    raw[16] = (unsigned char) (terminal_id >> 24);
    raw[17] = (unsigned char) (terminal_id >> 16);
    raw[18] = (unsigned char) (terminal_id >> 8);
    raw[19] = (unsigned char) terminal_id;

    if (secret != NULL) {
        memcpy(raw + 20, secret, CX_SECRET_LEN);

    } else if (RAND_bytes(raw + 20, CX_SECRET_LEN) != 1) {
        return -1;
    }

    tag(key, (char) kind, raw, CX_TOKEN_RAW - CX_TAG_LEN,
        raw + CX_TOKEN_RAW - CX_TAG_LEN);
    cx_base64url(raw, sizeof(raw), out);
    token_fill(token, key, raw);
    OPENSSL_cleanse(raw, sizeof(raw));

    return 0;
}


int
cx_token_hash(const char *text, size_t len, unsigned char *hash,
              uint32_t *terminal_id)
{
    unsigned char raw[CX_TOKEN_RAW];

    if (len != CX_TOKEN_LEN || cx_base64url_read(text, len, raw) < 0) {
        return -1;
    }

    *terminal_id = token_terminal(raw);
    sum(raw, CX_TOKEN_RAW, hash);

    return 0;
}


int
cx_token_parse(const cx_id_key_t *key, cx_token_kind_t kind, const char *text,
               size_t len, cx_token_t *token)
{
    unsigned char raw[CX_TOKEN_RAW], right[CX_TAG_LEN];

    if (len != CX_TOKEN_LEN || cx_base64url_read(text, len, raw) < 0) {
        return -1;
    }

    tag(key, (char) kind, raw, CX_TOKEN_RAW - CX_TAG_LEN, right);

    if (CRYPTO_memcmp(raw + CX_TOKEN_RAW - CX_TAG_LEN, right, CX_TAG_LEN)) {
        return -1;
    }

    token_fill(token, key, raw);

    return 0;
}


int
cx_ticket_new(const cx_id_key_t *key, const cx_token_t *access, char *out)
{
    cx_token_t ticket;

    return cx_token_new(key, CX_TOKEN_TICKET, access->user_id,
                        access->terminal_id, access->hash, out, &ticket);
}


int
cx_ticket_parse(const cx_id_key_t *key, const char *text, size_t len,
                cx_token_t *access)
{
    unsigned char raw[CX_TOKEN_RAW];

    if (cx_token_parse(key, CX_TOKEN_TICKET, text, len, access) != 0
        || cx_base64url_read(text, len, raw) < 0) {
        return -1;
    }

    memcpy(access->hash, raw + 20, CX_SECRET_LEN);

    return 0;
}


void
cx_hash_name(const unsigned char *hash, char *out)
{
    cx_hex(hash, CX_HASH_NAME / 2, out);
}


void
cx_hex(const unsigned char *bytes, size_t len, char *out)
{
    size_t i;
    static const char digits[] = "0123456789abcdef";

    for (i = 0; i < len; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }

    *out = '\0';
}


int
cx_hex_read(const char *hex, size_t len, unsigned char *out)
{
    size_t i;
    int high, low;

    for (i = 0; i < len; i++) {
        high = hex_digit(hex[2 * i]);
        low = high < 0 ? -1 : hex_digit(hex[2 * i + 1]);

        if (low < 0) {
            return -1;
        }

        out[i] = (unsigned char) (high << 4 | low);
    }

    return 0;
}


size_t
cx_base64url(const unsigned char *bytes, size_t len, char *out)
{
    return digits_write(base64url_alphabet, 6, bytes, len, out);
}


int
cx_base64url_read(const char *text, size_t len, unsigned char *out)
{
    return digits_read(base64url_digits, 6, text, len, out);
}
