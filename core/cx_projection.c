#include "cx_projection.h"

#include <string.h>


/* A decimal number at the start of a value; returns the digits read, 0 if
 * there is none or it is not below 10^18. */
static size_t
number_read(const char *value, size_t len, int64_t *number)
{
    size_t i;

    *number = 0;

    for (i = 0; i < len && value[i] >= '0' && value[i] <= '9'; i++) {
        if (i == 18) {
            return 0;
        }

        *number = *number * 10 + (value[i] - '0');
    }

    return i;
}


static int
is_mark(const char *value, size_t len, const char *mark)
{
    return len == 1 && value[0] == mark[0];
}


cx_verdict_t
cx_verdict_read(const char *value, size_t len, int64_t now, const char **view,
                size_t *view_len)
{
    size_t n;
    int64_t until;

    if (value == NULL || len == 0) {
        return CX_VERDICT_MISS;
    }

    if (value[0] == CX_GONE[0]) {
        return CX_VERDICT_REFUSED;
    }

    if (value[0] == CX_UNKNOWN[0]) {
        n = number_read(value + 1, len - 1, &until);
        return n > 0 && n == len - 1 && now < until ? CX_VERDICT_REFUSED
                                                    : CX_VERDICT_MISS;
    }

    n = number_read(value, len, &until);

    if (n == 0 || n == len || value[n] != ' ') {
        return CX_VERDICT_MISS;
    }

    *view = value + n + 1;
    *view_len = len - n - 1;

    if (*view_len != 0 && *view_len != CX_VIEW_LEN) {
        return CX_VERDICT_MISS;
    }

    return now < until ? CX_VERDICT_GRANTED : CX_VERDICT_REFUSED;
}


cx_verdict_t
cx_token_verdict_read(const char *value, size_t len, const char *mark,
                      size_t mark_len, int64_t now)
{
    size_t n;
    int64_t until;

    if (mark != NULL) {
        return is_mark(mark, mark_len, CX_GONE) ? CX_VERDICT_REFUSED
                                                : CX_VERDICT_MISS;
    }

    if (value == NULL) {
        return CX_VERDICT_MISS;
    }

    n = number_read(value, len, &until);

    if (n == 0 || n != len) {
        return CX_VERDICT_MISS;
    }

    return now < until ? CX_VERDICT_GRANTED : CX_VERDICT_REFUSED;
}


cx_verdict_t
cx_redirect_read(const char *value, size_t len, int64_t now,
                 const char **card_id)
{
    size_t n;
    int64_t until;

    if (value == NULL) {
        return CX_VERDICT_MISS;
    }

    if (is_mark(value, len, CX_GONE)) {
        return CX_VERDICT_REFUSED;
    }

    n = number_read(value, len, &until);

    if (n == 0 || len != n + 1 + CX_ID_LEN || value[n] != ' ') {
        return CX_VERDICT_MISS;
    }

    *card_id = value + n + 1;

    return now < until ? CX_VERDICT_GRANTED : CX_VERDICT_REFUSED;
}


int
cx_media_read(const char *value, size_t len, const char **media_id,
              uint64_t *bytes, const char **type, size_t *type_len)
{
    size_t n;
    int64_t number;

    if (value == NULL || len < CX_ID_LEN + 1 || value[CX_ID_LEN] != ' ') {
        return -1;
    }

    *media_id = value;
    value += CX_ID_LEN + 1;
    len -= CX_ID_LEN + 1;

    n = number_read(value, len, &number);

    if (n == 0 || n + 1 >= len || value[n] != ' ') {
        return -1;
    }

    *bytes = (uint64_t) number;
    *type = value + n + 1;
    *type_len = len - n - 1;

    /* it may become a header's value */
    for (n = 0; n < *type_len; n++) {
        if ((*type)[n] < ' ' || (*type)[n] > '~') {
            return -1;
        }
    }

    return 0;
}


static char *
copy(char *out, const char *text, size_t len)
{
    memcpy(out, text, len);

    return out + len;
}


#define copy_literal(out, text) copy(out, text, sizeof(text) - 1)


static size_t
finish(const char *start, char *end)
{
    *end = '\0';

    return (size_t) (end - start);
}


size_t
cx_card_name(char *out, const char *card_id)
{
    char *p;

    p = copy_literal(out, CX_CARD_PREFIX);
    p = copy(p, card_id, CX_ID_LEN);
    *p++ = '}';

    return finish(out, p);
}


size_t
cx_token_name(char *out, const cx_token_t *token)
{
    char *p;

    p = copy_literal(out, CX_TOKEN_PREFIX);
    p = copy(p, token->user_id, CX_ID_LEN);
    p = copy_literal(p, "}:");
    cx_hash_name(token->hash, p);

    return finish(out, p + CX_HASH_NAME);
}


size_t
cx_terminal_name(char *out, const cx_token_t *token)
{
    int i;
    char *p, digits[10];
    uint32_t n;

    p = copy_literal(out, CX_TERMINAL_PREFIX);
    p = copy(p, token->user_id, CX_ID_LEN);
    p = copy_literal(p, "}:");

    n = token->terminal_id;
    i = sizeof(digits);

    do {
        digits[--i] = (char) ('0' + n % 10);
        n /= 10;
    } while (n > 0);

    p = copy(p, digits + i, sizeof(digits) - (size_t) i);

    return finish(out, p);
}


size_t
cx_thumb_name(char *out, const char *thumbnail_id)
{
    char *p;

    p = copy_literal(out, CX_THUMB_PREFIX);
    p = copy(p, thumbnail_id, CX_ID_LEN);

    return finish(out, p);
}


size_t
cx_redirect_name(char *out, const unsigned char *key_hash)
{
    char *p;

    p = copy_literal(out, CX_REDIRECT_PREFIX);
    cx_hash_name(key_hash, p);

    return finish(out, p + CX_HASH_NAME);
}


size_t
cx_head_name(char *out, const char *user_id)
{
    char *p;

    p = copy_literal(out, CX_HEAD_PREFIX);
    p = copy(p, user_id, CX_ID_LEN);
    *p++ = '}';

    return finish(out, p);
}


size_t
cx_wake_name(char *out, unsigned channel)
{
    static const char hex[] = "0123456789abcdef";
    char *p;

    p = copy_literal(out, CX_WAKE_PREFIX);
    *p++ = hex[channel >> 4 & 15];
    *p++ = hex[channel & 15];

    return finish(out, p);
}


/* An id begins with random bits; of its first two characters any eight would
 * do, whatever the alphabet. */
unsigned
cx_wake_channel(const char *user_id)
{
    return ((unsigned char) user_id[0] * 37u
            + (unsigned char) user_id[1] * 131u)
           % CX_WAKE_CHANNELS;
}


size_t
cx_key_field(char *out, const unsigned char *key_hash)
{
    char *p;

    p = copy_literal(out, CX_FIELD_KEY);
    cx_hash_name(key_hash, p);

    return finish(out, p + CX_HASH_NAME);
}


/* FNV-1a, with its bits mixed once more at the end: caches use the low ones */
uint32_t
cx_object(const char *name, size_t len)
{
    size_t i, prefix;
    uint32_t h;

    h = 2166136261U;

    for (i = 0; i < len; i++) {
        h = (h ^ (unsigned char) name[i]) * 16777619U;
    }

    h = (h ^ (h >> 15)) & ~CX_OBJECT_HEAD;
    prefix = sizeof(CX_HEAD_PREFIX) - 1;

    return len > prefix && memcmp(name, CX_HEAD_PREFIX, prefix) == 0
               ? h | CX_OBJECT_HEAD
               : h;
}


size_t
cx_scans_name(char *out, char digit)
{
    char *p;

    p = copy_literal(out, CX_SCANS_PREFIX);
    *p++ = digit;
    *p++ = '}';

    return finish(out, p);
}


size_t
cx_scans_last_name(char *out, char digit, const char *process)
{
    char *p;

    p = out + cx_scans_name(out, digit);
    p = copy_literal(p, ":last:");
    p = copy(p, process, CX_NONCE_LEN);

    return finish(out, p);
}


size_t
cx_own_name(char *out, const char *name, unsigned mark)
{
    char *p;

    p = copy(out, name, strlen(name));

    if (mark < CX_SLOTS) {
        p = copy_literal(p, ":{");
        p += cx_slot_tag(p, mark);
        *p++ = '}';
    }

    return finish(out, p);
}
