#include "match_keys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>


static int
cleanse(cx_match_keys_t *keys)
{
    OPENSSL_cleanse(keys->tag_key, sizeof(keys->tag_key));
    OPENSSL_cleanse(keys->number_key, sizeof(keys->number_key));
    OPENSSL_cleanse(keys->pair_key, sizeof(keys->pair_key));

    return 0;
}


/* The region of a language tag, as CH in fr-CH or CN in zh-Hans-CN. */
static void
region_of_locale(const char *locale, char out[3])
{
    size_t len;
    const char *p;

    for (p = locale; p != NULL && *p != '\0'; p += len + (p[len] == '-')) {
        len = strcspn(p, "-");

        if (p != locale && len == 2 && isalpha((unsigned char) p[0])
            && isalpha((unsigned char) p[1])) {
            out[0] = (char) toupper((unsigned char) p[0]);
            out[1] = (char) toupper((unsigned char) p[1]);
            out[2] = '\0';
            return;
        }
    }
}


void
cx_account_region(const cx_settings_t *settings, const char *phone,
                  const char *locale, char out[3])
{
    out[0] = '\0';

    if (phone != NULL && cx_phone_region(phone, out) == 0) {
        return;
    }

    region_of_locale(locale, out);

    if (out[0] == '\0' && settings->default_region != NULL) {
        snprintf(out, 3, "%s", settings->default_region);
    }
}


/* The pair key is the same for all: its id tells when it is another one. */
static bool
set_pair_key(cx_match_keys_t *keys, const cx_settings_t *settings)
{
    unsigned char id[32];

    if (!cx_derive(settings, "match", keys->pair_key)
        || !cx_derive(settings, "match-id", id)) {
        return false;
    }

    keys->key_id = (id[0] & 0x7f) << 24 | id[1] << 16 | id[2] << 8 | id[3];

    return true;
}


cx_match_keys_t *
cx_match_keys(TALLOC_CTX *ctx, const cx_settings_t *settings,
              const char *user_id, const char *phone, const char *locale,
              const char *epoch, const unsigned char *wrapped, size_t len)
{
    bool ok;
    size_t key_len;
    unsigned char *data_key;
    cx_match_keys_t *keys;

    keys = talloc_zero(ctx, cx_match_keys_t);
    if (keys == NULL) {
        return NULL;
    }

    talloc_set_destructor(keys, cleanse);

    keys->user_id = talloc_strdup(keys, user_id);
    keys->epoch = talloc_strdup(keys, epoch);
    snprintf(keys->phone, sizeof(keys->phone), "%s",
             phone != NULL ? phone : "");
    cx_account_region(settings, phone, locale, keys->region);

    key_len = 0;
    data_key = cx_master_open(keys, settings, CX_DATA_KEY, user_id, wrapped,
                              len, &key_len);

    ok = data_key != NULL && set_pair_key(keys, settings)
         && cx_derive_from(data_key, key_len, "match-tag", keys->tag_key)
         && cx_derive_from(data_key, key_len, "match-number", keys->number_key);

    if (data_key != NULL) {
        OPENSSL_cleanse(data_key, key_len);
    }

    if (!ok) {
        talloc_free(keys);
        return NULL;
    }

    return keys;
}


static bool
hash(const unsigned char *key, const char *text, unsigned char *out)
{
    unsigned char hmac[EVP_MAX_MD_SIZE];

    if (HMAC(EVP_sha256(), key, 32, (const unsigned char *) text, strlen(text),
             hmac, NULL)
        == NULL) {
        return false;
    }

    memcpy(out, hmac, CX_MATCH_HASH);

    return true;
}


bool
cx_match_tag(const cx_match_keys_t *keys, const char *e164, unsigned char *out)
{
    return hash(keys->tag_key, e164, out);
}


bool
cx_match_pair(const cx_match_keys_t *keys, const char *e164, unsigned char *out,
              bool *side)
{
    int order;
    char both[2 * CX_PHONE_SIZE];

    *side = false;
    order = strcmp(keys->phone, e164);

    if (keys->phone[0] == '\0' || order == 0) {
        return false;
    }

    *side = order < 0;
    snprintf(both, sizeof(both), "%s%s", *side ? keys->phone : e164,
             *side ? e164 : keys->phone);

    return hash(keys->pair_key, both, out);
}
