#include "cx_vcard_parse.h"
#include "cx_id.h"

#include <iconv.h>
#include <string.h>
#include <strings.h>


/* Windows-1252 from 0x80 to 0x9F; what it leaves open is kept as it is. */
static const unsigned short windows_1252[] = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
    0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
    0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178,
};

/* What phones of the time of 2.1 wrote.  A list, since the name comes from
 * outside and picks the code that runs. */
static const char *const charsets[] = {
    "GBK",          "GB2312",       "GB18030",      "BIG5",
    "SHIFT_JIS",    "EUC-JP",       "EUC-KR",       "KOI8-R",
    "WINDOWS-1250", "WINDOWS-1251", "WINDOWS-1253", "WINDOWS-1254",
    "ISO-8859-2",   "ISO-8859-5",   "ISO-8859-7",   "ISO-8859-9",
    "ISO-8859-15",
};


size_t
cx_vtext_quoted(char *text, size_t len)
{
    size_t i, n = 0;
    unsigned char byte;

    for (i = 0; i < len; i++) {
        if (text[i] == '=' && i + 2 < len
            && cx_hex_read(text + i + 1, 1, &byte) == 0) {
            text[n++] = (char) byte;
            i += 2;

        } else {
            text[n++] = text[i];
        }
    }

    return n;
}


static bool
is_utf8(const char *bytes, size_t len)
{
    size_t i, n;

    for (i = 0; i < len; i += n) {
        n = cx_utf8_length(bytes + i, len - i);

        if (n == 0) {
            return false;
        }
    }

    return true;
}


static void
from_windows_1252(cx_buf_t *buf, const char *bytes, size_t len)
{
    unsigned char c;
    size_t i;

    for (i = 0; i < len; i++) {
        c = (unsigned char) bytes[i];
        cx_buf_utf8(buf, c >= 0x80 && c <= 0x9F ? windows_1252[c - 0x80] : c);
    }
}


/* false: nothing was added. */
static bool
from_charset(cx_buf_t *buf, const char *bytes, size_t len, const char *charset)
{
    char out[512], *in = (char *) bytes, *to;
    size_t i, left = len, room, start = buf->len, got;
    iconv_t converter;

    for (i = 0; i < sizeof(charsets) / sizeof(charsets[0]); i++) {
        if (charset != NULL && strcasecmp(charset, charsets[i]) == 0) {
            break;
        }
    }

    if (i == sizeof(charsets) / sizeof(charsets[0])) {
        return false;
    }

    /* GB2312 is what GBK was called in its days */
    converter = iconv_open(
        "UTF-8", strcmp(charsets[i], "GB2312") == 0 ? "GBK" : charsets[i]);

    if (converter == (iconv_t) -1) {
        return false;
    }

    while (left > 0) {
        to = out;
        room = sizeof(out);
        got = iconv(converter, &in, &left, &to, &room);
        cx_buf_add(buf, out, sizeof(out) - room);

        if (got == (size_t) -1 && room == sizeof(out)) {
            break;
        }
    }

    iconv_close(converter);

    if (left > 0) {
        buf->len = start;
        return false;
    }

    return true;
}


/* Line ends become newlines; other control characters go. */
static void
drop_controls(cx_buf_t *buf)
{
    size_t i, n = 0;
    unsigned char c;

    for (i = 0; i < buf->len; i++) {
        c = (unsigned char) buf->data[i];

        if (c == '\r' && (i + 1 == buf->len || buf->data[i + 1] != '\n')) {
            c = '\n';
        }

        if (c >= 0x20 ? c != 0x7F : c == '\n' || c == '\t') {
            buf->data[n++] = (char) c;
        }
    }

    buf->len = n;
    buf->data[n] = '\0';
}


char *
cx_vtext_utf8(TALLOC_CTX *ctx, const char *bytes, size_t len,
              const char *charset)
{
    cx_buf_t buf;

    cx_buf_init(&buf, ctx);

    if (!from_charset(&buf, bytes, len, charset)) {
        if (is_utf8(bytes, len)) {
            cx_buf_add(&buf, bytes, len);
        } else {
            from_windows_1252(&buf, bytes, len);
        }
    }

    cx_buf_add(&buf, "", 0);
    drop_controls(&buf);

    return buf.data;
}


char *
cx_vtext_plain(TALLOC_CTX *ctx, const char *value)
{
    char *text, *out;

    text = out = cx_must(talloc_strdup(ctx, value));

    for (; *value != '\0'; value++) {
        if (*value == '\\' && value[1] != '\0'
            && strchr("\\,;:nN\"", value[1]) != NULL) {
            value++;
            *out++ = *value == 'n' || *value == 'N' ? '\n' : *value;
            continue;
        }

        *out++ = *value;
    }

    *out = '\0';

    return text;
}


/* URIs have no backslashes; some write them nonetheless, as in text. */
char *
cx_vtext_uri(TALLOC_CTX *ctx, const char *value)
{
    char *text, *out;
    size_t len;

    value += strspn(value, " \t\n");
    text = out = cx_must(talloc_strdup(ctx, value));

    for (; *value != '\0'; value++) {
        if (*value == '\\' && value[1] != '\0'
            && strchr("\\,;:", value[1]) != NULL) {
            value++;
        }

        *out++ = *value;
    }

    *out = '\0';
    len = (size_t) (out - text);

    while (len > 0 && strchr(" \t\n", text[len - 1]) != NULL) {
        text[--len] = '\0';
    }

    return text;
}


char **
cx_vtext_split(TALLOC_CTX *ctx, const char *value, char separator, size_t max,
               size_t *n)
{
    char **parts;
    const char *p = value, *start = value;

    parts = cx_must(talloc_array(ctx, char *, max));
    *n = 0;

    while (*n < max) {
        if (*p == '\\' && p[1] != '\0') {
            p += 2;
            continue;
        }

        if (*p == separator || *p == '\0') {
            parts[(*n)++] =
                cx_must(talloc_strndup(parts, start, (size_t) (p - start)));

            if (*p == '\0') {
                break;
            }

            start = p + 1;
        }

        p++;
    }

    return parts;
}
