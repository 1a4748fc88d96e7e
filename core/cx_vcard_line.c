#include "cx_vcard_line.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>


#define FOLD 75 /* octets of a line, RFC 6350, 3.2 */


void
cx_vcard_writer_init(cx_vcard_writer_t *writer, TALLOC_CTX *ctx,
                     cx_vcard_version_t version)
{
    memset(writer, 0, sizeof(cx_vcard_writer_t));
    writer->ctx = ctx;
    writer->version = version;
    cx_buf_init(&writer->out, ctx);
    cx_buf_init(&writer->line, ctx);
}


void
cx_vline_begin(cx_vcard_writer_t *writer, const char *group, const char *name)
{
    writer->line.len = 0;

    if (group != NULL) {
        cx_buf_puts(&writer->line, group);
        cx_buf_putc(&writer->line, '.');
    }

    cx_buf_puts(&writer->line, name);
}


/* Whether a property that is kept as it was has the group already. */
static bool
is_taken(const cx_vcard_writer_t *writer)
{
    const cx_json_t *property;
    const char *group;
    size_t i;

    for (i = 0; writer->kept != NULL && i < writer->kept->n; i++) {
        property = writer->kept->items[i];
        group = property->type == CX_JSON_ARRAY && property->n > 1
                    ? cx_json_text(property->items[1], "group")
                    : NULL;

        if (group != NULL && strcasecmp(group, writer->group) == 0) {
            return true;
        }
    }

    return false;
}


const char *
cx_vline_group(cx_vcard_writer_t *writer)
{
    do {
        snprintf(writer->group, sizeof(writer->group), "item%u",
                 ++writer->groups);
    } while (is_taken(writer));

    return writer->group;
}


static bool
is_control(char c)
{
    return (unsigned char) c < 0x20 || c == 0x7F;
}


/* RFC 6868 for 4.0; 3.0 has no way to write a quote or a line's end. */
static void
param_char(cx_vcard_writer_t *writer, char c)
{
    bool modern = writer->version == CX_VCARD_4;

    if (c == '"') {
        cx_buf_puts(&writer->line, modern ? "^'" : "'");

    } else if (c == '^' && modern) {
        cx_buf_puts(&writer->line, "^^");

    } else if (c == '\n') {
        cx_buf_puts(&writer->line, modern ? "^n" : " ");

    } else if (!is_control(c)) {
        cx_buf_putc(&writer->line, c);
    }
}


void
cx_vline_param(cx_vcard_writer_t *writer, const char *name, const char *value)
{
    bool quoted;

    cx_buf_putc(&writer->line, ';');
    cx_buf_puts(&writer->line, name);
    cx_buf_putc(&writer->line, '=');

    quoted = strpbrk(value, ",;:") != NULL;

    if (quoted) {
        cx_buf_putc(&writer->line, '"');
    }

    for (; *value != '\0'; value++) {
        param_char(writer, *value);
    }

    if (quoted) {
        cx_buf_putc(&writer->line, '"');
    }
}


void
cx_vline_value(cx_vcard_writer_t *writer)
{
    cx_buf_putc(&writer->line, ':');
}


void
cx_vcard_escape(cx_buf_t *buf, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n' || (*text == '\r' && text[1] != '\n')) {
            cx_buf_puts(buf, "\\n");

        } else if (*text == '\\' || *text == ',' || *text == ';') {
            cx_buf_putc(buf, '\\');
            cx_buf_putc(buf, *text);

        } else if (!is_control(*text) || *text == '\t') {
            cx_buf_putc(buf, *text);
        }
    }
}


void
cx_vline_text(cx_vcard_writer_t *writer, const char *text)
{
    cx_vcard_escape(&writer->line, text);
}


void
cx_vline_raw(cx_vcard_writer_t *writer, const char *text)
{
    for (; *text != '\0'; text++) {
        if (!is_control(*text)) {
            cx_buf_putc(&writer->line, *text);
        }
    }
}


void
cx_vline_uri(cx_vcard_writer_t *writer, const char *uri)
{
    char code[4];

    for (; *uri != '\0'; uri++) {
        if (is_control(*uri)) {
            snprintf(code, sizeof(code), "%%%02X", (unsigned char) *uri);
            cx_buf_puts(&writer->line, code);

        } else {
            cx_buf_putc(&writer->line, *uri);
        }
    }
}


void
cx_vline_char(cx_vcard_writer_t *writer, char c)
{
    cx_buf_putc(&writer->line, c);
}


/* Puts the line out in pieces of at most FOLD octets, the first octet of all
 * but the first piece being the space, none ending inside a character. */
static void
fold(cx_vcard_writer_t *writer)
{
    const char *p = cx_buf_text(&writer->line);
    size_t left = writer->line.len, n, room = FOLD;

    while (!writer->brief && left > room) {
        n = room;

        while (n > room - 4 && ((unsigned char) p[n] & 0xC0) == 0x80) {
            n--;
        }

        cx_buf_add(&writer->out, p, n);
        cx_buf_puts(&writer->out, "\r\n ");
        p += n;
        left -= n;
        room = FOLD - 1;
    }

    cx_buf_add(&writer->out, p, left);
    cx_buf_puts(&writer->out, "\r\n");
}


void
cx_vline_end(cx_vcard_writer_t *writer)
{
    const char *label = writer->label;

    fold(writer);

    if (label != NULL) {
        writer->label = NULL;
        cx_vline_begin(writer, writer->group, "X-ABLabel");
        cx_vline_value(writer);
        cx_vline_text(writer, label);
        fold(writer);
    }
}


void
cx_vline_text_line(cx_vcard_writer_t *writer, const char *name,
                   const char *text)
{
    cx_vline_begin(writer, NULL, name);
    cx_vline_value(writer);
    cx_vline_text(writer, text);
    cx_vline_end(writer);
}


void
cx_vline_raw_line(cx_vcard_writer_t *writer, const char *name,
                  const char *value)
{
    cx_vline_begin(writer, NULL, name);
    cx_vline_value(writer);
    cx_vline_raw(writer, value);
    cx_vline_end(writer);
}


bool
cx_vcard_is_name(const char *name)
{
    size_t len;

    len = strlen(name);

    return len > 0 && len <= 64
           && strspn(name,
                     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                     "0123456789-")
                  == len;
}
