/* Ids, card keys, tokens, and their encodings (cx_id.h). */

#include "cx_id.h"
#include "fuzz.h"


static void
encodings(const char *text, size_t size)
{
    size_t len;
    int n;
    char *again;
    unsigned char *bytes;

    bytes = malloc(size + 1);
    again = malloc(2 * size + 8);
    HOLDS(bytes != NULL && again != NULL);

    n = cx_base64url_read(text, size, bytes);

    if (n >= 0) {
        len = cx_base64url(bytes, (size_t) n, again);
        HOLDS(len == size && memcmp(again, text, size) == 0);
    }

    if (size % 2 == 0 && cx_hex_read(text, size / 2, bytes) == 0) {
        cx_hex(bytes, size / 2, again);
        HOLDS(strlen(again) == size);
    }

    /* any bytes can be written and read */
    len = cx_base64url((const unsigned char *) text, size, again);
    HOLDS(len == strlen(again));
    HOLDS(cx_base64url_read(again, len, bytes) == (int) size);
    HOLDS(size == 0 || memcmp(bytes, text, size) == 0);

    free(bytes);
    free(again);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;
    cx_token_t token;
    cx_id_key_t key;
    unsigned char hash[CX_SECRET_LEN];

    text = fuzz_copy(data, size);

    if (cx_id_key_parse(&key, text, size) != 0) {
        HOLDS(cx_id_key_parse(&key, FUZZ_ID_KEY, 64) == 0);
    }

    if (cx_id_check(&key, CX_ID_CARD, text, size) == 0) {
        HOLDS(size == CX_ID_LEN);
        HOLDS(cx_id_check(&key, CX_ID_USER, text, size) != 0);
    }

    if (cx_card_key_hash(text, size, hash) == 0) {
        HOLDS(size == CX_KEY_LEN);
    }

    if (cx_token_parse(&key, CX_TOKEN_ACCESS, text, size, &token) == 0) {
        HOLDS(size == CX_TOKEN_LEN && token.terminal_id <= CX_TERMINAL_MAX);
        HOLDS(strlen(token.user_id) == CX_ID_LEN);
    }

    encodings(text, size);
    free(text);

    return 0;
}
