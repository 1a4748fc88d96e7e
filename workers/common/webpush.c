#include "webpush.h"

#include <inttypes.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>

#include "crypto.h"

#define CURVE "prime256v1"
#define NUMBER_LEN 32
#define HASH_LEN 32
#define NONCE_LEN 12
#define GCM_TAG_LEN 16
#define RECORD_SIZE 4096
#define HEADER_LEN (CX_PUSH_SALT_LEN + 4 + 1 + CX_POINT_LEN)
#define LAST_RECORD 0x02 /* the delimiter of RFC 8188, 2 */
#define TOKEN_SECONDS (12 * 3600)
#define SIGNATURE_LEN (2 * NUMBER_LEN)


/* From a point, and its secret number unless that is NULL. */
static EVP_PKEY *
key_of(const unsigned char *point, const BIGNUM *secret)
{
    EVP_PKEY *key;
    OSSL_PARAM *params;
    EVP_PKEY_CTX *ctx;
    OSSL_PARAM_BLD *build;

    key = NULL;
    params = NULL;
    ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    build = OSSL_PARAM_BLD_new();

    if (ctx != NULL && build != NULL
        && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME,
                                           CURVE, 0)
               == 1
        && OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY,
                                            point, CX_POINT_LEN)
               == 1
        && (secret == NULL
            || OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, secret)
                   == 1)
        && (params = OSSL_PARAM_BLD_to_param(build)) != NULL
        && EVP_PKEY_fromdata_init(ctx) == 1) {
        (void) EVP_PKEY_fromdata(
            ctx, &key, secret != NULL ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY,
            params);
    }

    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);

    return key;
}


EVP_PKEY *
cx_p256_key(const unsigned char *secret, unsigned char *point)
{
    BIGNUM *number;
    EC_GROUP *group;
    EC_POINT *public;
    EVP_PKEY *key;

    key = NULL;
    number = BN_secure_new();
    group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    public = group != NULL ? EC_POINT_new(group) : NULL;

    if (number != NULL && public != NULL
        && BN_bin2bn(secret, NUMBER_LEN, number) != NULL
        && EC_POINT_mul(group, public, number, NULL, NULL, NULL) == 1
        && EC_POINT_point2oct(group, public, POINT_CONVERSION_UNCOMPRESSED,
                              point, CX_POINT_LEN, NULL)
               == CX_POINT_LEN) {
        key = key_of(point, number);
    }

    EC_POINT_free(public);
    EC_GROUP_free(group);
    BN_clear_free(number);

    return key;
}


EVP_PKEY *
cx_vapid_key(const cx_settings_t *settings, unsigned char *point)
{
    int n;
    EVP_PKEY *key;
    char purpose[] = "web push 0";
    unsigned char secret[NUMBER_LEN];

    key = NULL;

    /* A number of 256 bits is no secret of P-256 once in 2^32: then the next
     * one is. */
    for (n = 0; n < 10 && key == NULL; n++) {
        purpose[sizeof(purpose) - 2] = (char) ('0' + n);

        if (!cx_derive(settings, purpose, secret)) {
            break;
        }

        key = cx_p256_key(secret, point);
    }

    OPENSSL_cleanse(secret, sizeof(secret));

    return key;
}


bool
cx_push_point_good(const unsigned char *point)
{
    bool good;
    EVP_PKEY *key;
    EVP_PKEY_CTX *ctx;

    key =
        point[0] == POINT_CONVERSION_UNCOMPRESSED ? key_of(point, NULL) : NULL;
    ctx = key != NULL ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    good = ctx != NULL && EVP_PKEY_public_check(ctx) == 1;

    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(key);

    return good;
}


/* r and s one after the other (RFC 7518, 3.4), from OpenSSL's DER. */
static bool
sign(EVP_PKEY *key, const char *text, unsigned char *signature)
{
    bool ok;
    size_t len;
    EVP_MD_CTX *md;
    ECDSA_SIG *sig;
    unsigned char der[80];
    const unsigned char *p;

    sig = NULL;
    len = sizeof(der);
    md = EVP_MD_CTX_new();

    ok = md != NULL
         && EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, key) == 1
         && EVP_DigestSign(md, der, &len, (const unsigned char *) text,
                           strlen(text))
                == 1;

    if (ok) {
        p = der;
        sig = d2i_ECDSA_SIG(NULL, &p, (long) len);
        ok = sig != NULL
             && BN_bn2binpad(ECDSA_SIG_get0_r(sig), signature, NUMBER_LEN)
                    == NUMBER_LEN
             && BN_bn2binpad(ECDSA_SIG_get0_s(sig), signature + NUMBER_LEN,
                             NUMBER_LEN)
                    == NUMBER_LEN;
    }

    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(md);

    return ok;
}


/* base64url, owned by ctx. */
static char *
encoded(TALLOC_CTX *ctx, const void *bytes, size_t len)
{
    char *text;

    text = talloc_array(ctx, char, len * 4 / 3 + 4);

    if (text != NULL) {
        (void) cx_base64url(bytes, len, text);
    }

    return text;
}


char *
cx_vapid_authorization(TALLOC_CTX *ctx, EVP_PKEY *key,
                       const unsigned char *point, const char *origin,
                       const char *subject, int64_t now)
{
    char *header, *claims, *json, *token, *value;
    unsigned char signature[SIGNATURE_LEN];
    static const char head[] = "{\"typ\":\"JWT\",\"alg\":\"ES256\"}";

    /* neither origin nor subject holds what JSON would escape: both have been
     * checked where they came in */
    json = talloc_asprintf(
        ctx, "{\"aud\":\"%s\",\"exp\":%" PRId64 ",\"sub\":\"%s\"}", origin,
        now + TOKEN_SECONDS, subject);

    if (json == NULL || (header = encoded(ctx, head, sizeof(head) - 1)) == NULL
        || (claims = encoded(ctx, json, strlen(json))) == NULL
        || (token = talloc_asprintf(ctx, "%s.%s", header, claims)) == NULL
        || !sign(key, token, signature)) {
        return NULL;
    }

    value = encoded(ctx, signature, sizeof(signature));
    claims = encoded(ctx, point, CX_POINT_LEN);

    if (value == NULL || claims == NULL) {
        return NULL;
    }

    return talloc_asprintf(ctx, "vapid t=%s.%s, k=%s", token, value, claims);
}


/* HKDF's steps (RFC 5869) with one block of output. */
static bool
hmac(const unsigned char *key, size_t key_len, const void *bytes, size_t len,
     unsigned char *out)
{
    return HMAC(EVP_sha256(), key, (int) key_len, bytes, len, out, NULL)
           != NULL;
}


/* The secret that sender and user agent share (RFC 8291, 3.4). */
static bool
agree(EVP_PKEY *sender, const unsigned char *sender_point,
      const unsigned char *ua_point, const unsigned char *auth,
      unsigned char *ikm)
{
    bool ok;
    size_t len;
    EVP_PKEY *peer;
    EVP_PKEY_CTX *ctx;
    unsigned char secret[NUMBER_LEN], prk[HASH_LEN];
    unsigned char info[sizeof("WebPush: info") + 2 * CX_POINT_LEN + 1];

    len = sizeof(secret);
    peer = key_of(ua_point, NULL);
    ctx = peer != NULL ? EVP_PKEY_CTX_new(sender, NULL) : NULL;

    memcpy(info, "WebPush: info", sizeof("WebPush: info"));
    memcpy(info + sizeof("WebPush: info"), ua_point, CX_POINT_LEN);
    memcpy(info + sizeof("WebPush: info") + CX_POINT_LEN, sender_point,
           CX_POINT_LEN);
    info[sizeof(info) - 1] = 1;

    ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1
         && EVP_PKEY_derive_set_peer(ctx, peer) == 1
         && EVP_PKEY_derive(ctx, secret, &len) == 1 && len == sizeof(secret)
         && hmac(auth, CX_PUSH_AUTH_LEN, secret, sizeof(secret), prk)
         && hmac(prk, sizeof(prk), info, sizeof(info), ikm);

    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(prk, sizeof(prk));
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);

    return ok;
}


/* One record, the last: text and delimiter under AES-128-GCM. */
static bool
encrypt(const unsigned char *cek, const unsigned char *nonce, const void *text,
        size_t len, unsigned char *out)
{
    int n;
    bool ok;
    EVP_CIPHER_CTX *cipher;
    static const unsigned char last = LAST_RECORD;

    cipher = EVP_CIPHER_CTX_new();

    ok = cipher != NULL
         && EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), NULL, cek, nonce) == 1
         && EVP_EncryptUpdate(cipher, out, &n, text, (int) len) == 1
         && EVP_EncryptUpdate(cipher, out + len, &n, &last, 1) == 1
         && EVP_EncryptFinal_ex(cipher, out + len + 1, &n) == 1
         && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, GCM_TAG_LEN,
                                out + len + 1)
                == 1;

    EVP_CIPHER_CTX_free(cipher);

    return ok;
}


unsigned char *
cx_push_encrypt_with(TALLOC_CTX *ctx, EVP_PKEY *sender,
                     const unsigned char *salt, const unsigned char *ua_point,
                     const unsigned char *auth, const void *text, size_t len,
                     size_t *body_len)
{
    bool ok;
    size_t n;
    unsigned char *body, *point;
    unsigned char ikm[HASH_LEN], prk[HASH_LEN], cek[HASH_LEN], nonce[HASH_LEN];
    static const char cek_info[] = "Content-Encoding: aes128gcm\0\1";
    static const char nonce_info[] = "Content-Encoding: nonce\0\1";

    if (len > CX_PUSH_TEXT_MAX) {
        return NULL;
    }

    *body_len = HEADER_LEN + len + 1 + GCM_TAG_LEN;
    body = talloc_array(ctx, unsigned char, *body_len);

    if (body == NULL) {
        return NULL;
    }

    /* salt | record size | length of the key id | the key id: our point */
    memcpy(body, salt, CX_PUSH_SALT_LEN);
    point = body + CX_PUSH_SALT_LEN;
    *point++ = 0;
    *point++ = 0;
    *point++ = RECORD_SIZE >> 8;
    *point++ = RECORD_SIZE & 0xff;
    *point++ = CX_POINT_LEN;

    ok = EVP_PKEY_get_octet_string_param(sender, OSSL_PKEY_PARAM_PUB_KEY, point,
                                         CX_POINT_LEN, &n)
             == 1
         && n == CX_POINT_LEN && agree(sender, point, ua_point, auth, ikm)
         && hmac(salt, CX_PUSH_SALT_LEN, ikm, sizeof(ikm), prk)
         && hmac(prk, sizeof(prk), cek_info, sizeof(cek_info) - 1, cek)
         && hmac(prk, sizeof(prk), nonce_info, sizeof(nonce_info) - 1, nonce)
         && encrypt(cek, nonce, text, len, body + HEADER_LEN);

    OPENSSL_cleanse(ikm, sizeof(ikm));
    OPENSSL_cleanse(prk, sizeof(prk));
    OPENSSL_cleanse(cek, sizeof(cek));

    if (!ok) {
        talloc_free(body);
        return NULL;
    }

    return body;
}


unsigned char *
cx_push_encrypt(TALLOC_CTX *ctx, const unsigned char *ua_point,
                const unsigned char *auth, const void *text, size_t len,
                size_t *body_len)
{
    EVP_PKEY *sender;
    unsigned char *body, salt[CX_PUSH_SALT_LEN];

    body = NULL;
    sender = EVP_EC_gen(CURVE);

    if (sender != NULL && RAND_bytes(salt, sizeof(salt)) == 1) {
        body = cx_push_encrypt_with(ctx, sender, salt, ua_point, auth, text,
                                    len, body_len);
    }

    EVP_PKEY_free(sender);

    return body;
}
