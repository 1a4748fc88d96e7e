#include "crypto.h"

#include <crypt.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>

#define NONCE_LEN 12
#define GCM_TAG_LEN 16
#define YESCRYPT_COST 5 /* crypt(5): "compute cost", 5 is its default */


bool
cx_derive_from(const void *secret, size_t len, const char *purpose,
               unsigned char *out)
{
    bool ok;
    size_t out_len;
    EVP_PKEY_CTX *kdf;

    out_len = CX_SECRET_LEN;
    kdf = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);

    ok = kdf != NULL && EVP_PKEY_derive_init(kdf) == 1
         && EVP_PKEY_CTX_set_hkdf_md(kdf, EVP_sha256()) == 1
         && EVP_PKEY_CTX_set1_hkdf_key(kdf, secret, (int) len) == 1
         && EVP_PKEY_CTX_add1_hkdf_info(kdf, (const unsigned char *) purpose,
                                        (int) strlen(purpose))
                == 1
         && EVP_PKEY_derive(kdf, out, &out_len) == 1;

    EVP_PKEY_CTX_free(kdf);

    return ok;
}


bool
cx_derive(const cx_settings_t *settings, const char *purpose,
          unsigned char *out)
{
    return cx_derive_from(settings->master_key, sizeof(settings->master_key),
                          purpose, out);
}


bool
cx_hmac(const cx_settings_t *settings, const char *purpose, const void *bytes,
        size_t len, unsigned char *out)
{
    bool ok;
    unsigned char key[CX_SECRET_LEN];

    ok = cx_derive(settings, purpose, key)
         && HMAC(EVP_sha256(), key, sizeof(key), bytes, len, out, NULL) != NULL;

    OPENSSL_cleanse(key, sizeof(key));

    return ok;
}


unsigned char *
cx_seal(TALLOC_CTX *ctx, const unsigned char *key, const char *about,
        const void *bytes, size_t len, size_t *sealed_len)
{
    int n;
    bool ok;
    unsigned char *sealed, *text;
    EVP_CIPHER_CTX *cipher;

    sealed = talloc_array(ctx, unsigned char, NONCE_LEN + len + GCM_TAG_LEN);
    cipher = EVP_CIPHER_CTX_new();

    if (sealed == NULL || cipher == NULL
        || RAND_bytes(sealed, NONCE_LEN) != 1) {
        EVP_CIPHER_CTX_free(cipher);
        talloc_free(sealed);
        return NULL;
    }

    text = sealed + NONCE_LEN;

    ok = EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, sealed) == 1
         && EVP_EncryptUpdate(cipher, NULL, &n, (const unsigned char *) about,
                              (int) strlen(about))
                == 1
         && EVP_EncryptUpdate(cipher, text, &n, bytes, (int) len) == 1
         && EVP_EncryptFinal_ex(cipher, text + n, &n) == 1
         && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, GCM_TAG_LEN,
                                text + len)
                == 1;

    EVP_CIPHER_CTX_free(cipher);

    if (!ok) {
        talloc_free(sealed);
        return NULL;
    }

    *sealed_len = NONCE_LEN + len + GCM_TAG_LEN;

    return sealed;
}


unsigned char *
cx_open(TALLOC_CTX *ctx, const unsigned char *key, const char *about,
        const unsigned char *sealed, size_t sealed_len, size_t *len)
{
    int n;
    bool ok;
    unsigned char *text;
    EVP_CIPHER_CTX *cipher;

    if (sealed == NULL || sealed_len < NONCE_LEN + GCM_TAG_LEN) {
        return NULL;
    }

    *len = sealed_len - NONCE_LEN - GCM_TAG_LEN;
    text = talloc_array(ctx, unsigned char, *len + 1);
    cipher = EVP_CIPHER_CTX_new();

    ok =
        text != NULL && cipher != NULL
        && EVP_DecryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, sealed) == 1
        && EVP_DecryptUpdate(cipher, NULL, &n, (const unsigned char *) about,
                             (int) strlen(about))
               == 1
        && EVP_DecryptUpdate(cipher, text, &n, sealed + NONCE_LEN, (int) *len)
               == 1
        && EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, GCM_TAG_LEN,
                               (unsigned char *) sealed + sealed_len
                                   - GCM_TAG_LEN)
               == 1
        && EVP_DecryptFinal_ex(cipher, text + n, &n) == 1;

    EVP_CIPHER_CTX_free(cipher);

    if (!ok) {
        talloc_free(text);
        return NULL;
    }

    text[*len] = '\0';

    return text;
}


unsigned char *
cx_master_seal(TALLOC_CTX *ctx, const cx_settings_t *settings,
               const char *purpose, const char *about, const void *bytes,
               size_t len, size_t *sealed_len)
{
    unsigned char key[CX_SECRET_LEN], *sealed;

    sealed = cx_derive(settings, purpose, key)
                 ? cx_seal(ctx, key, about, bytes, len, sealed_len)
                 : NULL;

    OPENSSL_cleanse(key, sizeof(key));

    return sealed;
}


static unsigned char *
open_with(TALLOC_CTX *ctx, const unsigned char *master, const char *purpose,
          const char *about, const unsigned char *sealed, size_t sealed_len,
          size_t *len)
{
    unsigned char key[CX_SECRET_LEN], *text;

    text = cx_derive_from(master, CX_MASTER_KEY, purpose, key)
               ? cx_open(ctx, key, about, sealed, sealed_len, len)
               : NULL;

    OPENSSL_cleanse(key, sizeof(key));

    return text;
}


unsigned char *
cx_master_open(TALLOC_CTX *ctx, const cx_settings_t *settings,
               const char *purpose, const char *about,
               const unsigned char *sealed, size_t sealed_len, size_t *len)
{
    unsigned char *text;

    text = open_with(ctx, settings->master_key, purpose, about, sealed,
                     sealed_len, len);

    if (text == NULL && settings->other_master_key_file != NULL) {
        text = open_with(ctx, settings->other_key, purpose, about, sealed,
                         sealed_len, len);
    }

    return text;
}


bool
cx_master_is_ours(const cx_settings_t *settings, const char *purpose,
                  const char *about, const unsigned char *sealed,
                  size_t sealed_len)
{
    size_t len;
    unsigned char *text;

    text = open_with(NULL, settings->master_key, purpose, about, sealed,
                     sealed_len, &len);

    if (text != NULL) {
        OPENSSL_cleanse(text, len);
        talloc_free(text);
    }

    return text != NULL;
}


char *
cx_password_hash(TALLOC_CTX *ctx, const char *password)
{
    char *hash;
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    unsigned char random[16];
    struct crypt_data *data;

    data = talloc_zero(ctx, struct crypt_data);

    if (data == NULL || RAND_bytes(random, sizeof(random)) != 1
        || crypt_gensalt_rn("$y$", YESCRYPT_COST, (const char *) random,
                            sizeof(random), salt, sizeof(salt))
               == NULL) {
        talloc_free(data);
        return NULL;
    }

    hash = crypt_r(password, salt, data);
    hash = hash != NULL && hash[0] != '*' ? talloc_strdup(ctx, hash) : NULL;

    OPENSSL_cleanse(data, sizeof(*data));
    talloc_free(data);

    return hash;
}


bool
cx_password_check(const char *password, const char *hash)
{
    bool ok;
    char *result;
    struct crypt_data *data;

    /* of a password that nobody knows: costs what a real one costs */
    static const char nobody[] = "$y$j9T$cardxcardxcardxcardx$"
                                 "0000000000000000000000000000000000000000000";

    data = talloc_zero(NULL, struct crypt_data);
    if (data == NULL) {
        return false;
    }

    result = crypt_r(password, hash != NULL ? hash : nobody, data);

    ok = hash != NULL && result != NULL && result[0] != '*'
         && strlen(result) == strlen(hash)
         && CRYPTO_memcmp(result, hash, strlen(hash)) == 0;

    OPENSSL_cleanse(data, sizeof(*data));
    talloc_free(data);

    return ok;
}


/* Draws n characters of the alphabet, without favouring any. */
static bool
draw(char *out, size_t n, const char *alphabet, unsigned size)
{
    size_t i;
    unsigned char byte;

    for (i = 0; i < n; i++) {
        do {
            if (RAND_bytes(&byte, 1) != 1) {
                return false;
            }
        } while (byte >= 256 / size * size);

        out[i] = alphabet[byte % size];
    }

    out[n] = '\0';

    return true;
}


bool
cx_random_readable(char *out, size_t n)
{
    return draw(out, n, "abcdefghjkmnpqrstuvwxyz23456789", 31);
}


bool
cx_random_digits(char *out, size_t n)
{
    return draw(out, n, "0123456789", 10);
}
