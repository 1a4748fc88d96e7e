#include "cx_buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


void *
cx_must(void *memory)
{
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        abort();
    }

    return memory;
}


void
cx_buf_init(cx_buf_t *buf, TALLOC_CTX *ctx)
{
    buf->ctx = ctx;
    buf->data = NULL;
    buf->len = 0;
    buf->room = 0;
}


void
cx_buf_add(cx_buf_t *buf, const void *bytes, size_t len)
{
    size_t room;

    if (buf->data == NULL || len >= buf->room - buf->len) {
        room = (buf->len + len + 1) * 2;
        room = room < 64 ? 64 : room;
        buf->data = cx_must(talloc_realloc_size(buf->ctx, buf->data, room));
        buf->room = room;
    }

    if (len > 0) {
        memcpy(buf->data + buf->len, bytes, len);
    }

    buf->len += len;
    buf->data[buf->len] = '\0';
}


void
cx_buf_puts(cx_buf_t *buf, const char *text)
{
    cx_buf_add(buf, text, strlen(text));
}


void
cx_buf_putc(cx_buf_t *buf, char c)
{
    cx_buf_add(buf, &c, 1);
}


void
cx_buf_utf8(cx_buf_t *buf, unsigned code_point)
{
    char out[4];
    size_t n;

    if (code_point < 0x80) {
        out[0] = (char) code_point;
        n = 1;

    } else if (code_point < 0x800) {
        out[0] = (char) (0xC0 | code_point >> 6);
        out[1] = (char) (0x80 | (code_point & 0x3F));
        n = 2;

    } else if (code_point < 0x10000) {
        out[0] = (char) (0xE0 | code_point >> 12);
        out[1] = (char) (0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char) (0x80 | (code_point & 0x3F));
        n = 3;

    } else {
        out[0] = (char) (0xF0 | code_point >> 18);
        out[1] = (char) (0x80 | (code_point >> 12 & 0x3F));
        out[2] = (char) (0x80 | (code_point >> 6 & 0x3F));
        out[3] = (char) (0x80 | (code_point & 0x3F));
        n = 4;
    }

    cx_buf_add(buf, out, n);
}


char *
cx_buf_text(cx_buf_t *buf)
{
    if (buf->data == NULL) {
        cx_buf_add(buf, "", 0);
    }

    return buf->data;
}


size_t
cx_utf8_length(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *) text;
    unsigned char low = 0x80, high = 0xBF;
    size_t n, i;

    if (len == 0) {
        return 0;
    }

    if (s[0] < 0x80) {
        return 1;
    }

    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        n = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        n = 3;
        low = s[0] == 0xE0 ? 0xA0 : 0x80;
        high = s[0] == 0xED ? 0x9F : 0xBF;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        n = 4;
        low = s[0] == 0xF0 ? 0x90 : 0x80;
        high = s[0] == 0xF4 ? 0x8F : 0xBF;
    } else {
        return 0;
    }

    if (len < n || s[1] < low || s[1] > high) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if (s[i] < 0x80 || s[i] > 0xBF) {
            return 0;
        }
    }

    return n;
}


unsigned
cx_utf8_read(const char *text, size_t len)
{
    size_t i;
    unsigned c;

    c = (unsigned char) text[0];

    if (len > 1) {
        c &= 0xFFu >> (len + 1);
    }

    for (i = 1; i < len; i++) {
        c = (c << 6) | ((unsigned char) text[i] & 0x3Fu);
    }

    return c;
}
