#include "cx_vcard_parse.h"

#include <string.h>
#include <strings.h>


#define LINES_MAX 2000 /* more is no vCard that anyone made */
#define PARAMS_MAX 50
#define VALUES_MAX 50
#define SEEN_MAX 500    /* values of all parameters of a line */
#define HEADER_MAX 2048 /* where to look for an encoding */

typedef struct {
    const char *p;
    const char *end;
} input_t;

/* A line as it stands in the input. */
typedef struct {
    const char *text;
    size_t len;
} raw_t;


/* The next physical line; CRLF, LF and CR end one.  false: there is none. */
static bool
next_line(input_t *input, raw_t *line)
{
    const char *p = input->p;

    if (p == input->end) {
        return false;
    }

    while (p < input->end && *p != '\n' && *p != '\r') {
        p++;
    }

    line->text = input->p;
    line->len = (size_t) (p - input->p);

    if (p < input->end && *p == '\r') {
        p++;
    }

    if (p < input->end && *p == '\n') {
        p++;
    }

    input->p = p;

    return true;
}


/* Whether a line says this and nothing else. */
static bool
line_is(const raw_t *line, const char *what)
{
    const char *p = line->text;
    size_t len = line->len, n = strlen(what);

    while (len > 0 && (*p == ' ' || *p == '\t')) {
        p++;
        len--;
    }

    while (len > 0 && (p[len - 1] == ' ' || p[len - 1] == '\t')) {
        len--;
    }

    return len == n && strncasecmp(p, what, n) == 0;
}


/* Whether what stands before the value names an encoding. */
static bool
header_has(const char *text, size_t len, const char *what)
{
    size_t i, n = strlen(what);

    if (len > HEADER_MAX) {
        len = HEADER_MAX;
    }

    for (i = 0; i < len && text[i] != ':'; i++) {
        if ((text[i] == ';' || text[i] == '=') && len - i > n
            && strncasecmp(text + i + 1, what, n) == 0
            && (i + 1 + n == len || strchr(";:,", text[i + 1 + n]) != NULL)) {
            return true;
        }
    }

    return false;
}


static bool
is_base64_line(const input_t *input)
{
    const char *p = input->p;

    while (p < input->end
           && ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z')
               || (*p >= '0' && *p <= '9') || *p == '+' || *p == '/'
               || *p == '=')) {
        p++;
    }

    return p > input->p && (p == input->end || *p == '\r' || *p == '\n');
}


/* The next line with what was folded (RFC 6350, 3.2), broken softly (RFC
 * 2045, 6.7) or, in 2.1, just continued in base64. */
static bool
next_unfolded(input_t *input, cx_buf_t *buf)
{
    bool quoted, base64;
    raw_t line;

    buf->len = 0;

    if (!next_line(input, &line)) {
        return false;
    }

    cx_buf_add(buf, line.text, line.len);
    quoted = header_has(line.text, line.len, "QUOTED-PRINTABLE");
    base64 = header_has(line.text, line.len, "BASE64")
             || header_has(line.text, line.len, "B");

    while (input->p < input->end) {
        if (quoted && buf->len > 0 && buf->data[buf->len - 1] == '=') {
            buf->len--;
            next_line(input, &line);
            cx_buf_add(buf, line.text, line.len);

        } else if (*input->p == ' ' || *input->p == '\t') {
            next_line(input, &line);
            cx_buf_add(buf, line.text + 1, line.len - 1);

        } else if (base64 && is_base64_line(input)) {
            next_line(input, &line);
            cx_buf_add(buf, line.text, line.len);

        } else {
            break;
        }
    }

    return true;
}


static void
change_case(char *text, char low, char high, int by)
{
    for (; *text != '\0'; text++) {
        if (*text >= low && *text <= high) {
            *text = (char) (*text + by);
        }
    }
}


/* The value of a parameter as it is meant (RFC 6868), owned by ctx. */
static char *
param_value(TALLOC_CTX *ctx, const char *text, size_t len)
{
    char *value, *in, *out;

    value = cx_vtext_utf8(ctx, text, len, NULL);

    for (in = out = value; *in != '\0'; in++) {
        *out = *in;

        if (*in == '^' && strchr("n^'", in[1]) != NULL && in[1] != '\0') {
            in++;
            *out = *in == 'n' ? '\n' : *in == '^' ? '^' : '"';
        }

        out++;
    }

    *out = '\0';

    return value;
}


/* 2.1 leaves the names of parameters out. */
static const char *
implied_name(const char *value)
{
    static const char *const encodings[] = { "QUOTED-PRINTABLE", "BASE64",
                                             "8BIT", "7BIT", "B" };
    static const char *const values[] = { "URL", "URI", "INLINE", "CID" };
    size_t i;

    for (i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++) {
        if (strcasecmp(value, encodings[i]) == 0) {
            return "ENCODING";
        }
    }

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (strcasecmp(value, values[i]) == 0) {
            return "VALUE";
        }
    }

    return "TYPE";
}


/* Puts a value to a parameter of that name. */
static void
param_add(cx_vline_t *line, const char *name, char *value)
{
    cx_vparam_t *param;
    size_t i;

    for (i = 0; i < line->n; i++) {
        if (strcmp(line->params[i].name, name) == 0) {
            break;
        }
    }

    if (i == PARAMS_MAX) {
        return;
    }

    if (i == line->n) {
        line->params = cx_must(talloc_realloc(line->params, line->params,
                                              cx_vparam_t, line->n + 1));
        param = &line->params[line->n++];
        param->name = cx_must(talloc_strdup(line->params, name));
        param->values = NULL;
        param->n = 0;
    }

    param = &line->params[i];

    if (param->n < VALUES_MAX) {
        param->values = cx_must(
            talloc_realloc(line->params, param->values, char *, param->n + 1));
        param->values[param->n++] = value;
    }
}


/* Reads ";NAME=value,value" at p; returns where it ends. */
static const char *
read_param(TALLOC_CTX *ctx, cx_vline_t *line, const char *p, const char *end)
{
    const char *start = p, *stop;
    char *name, *value;

    while (p < end && *p != '=' && *p != ';' && *p != ':') {
        p++;
    }

    if (line->seen > SEEN_MAX) {
        return end;
    }

    line->seen++;
    name = cx_vtext_utf8(ctx, start, (size_t) (p - start), NULL);

    if (p == end || *p != '=') {
        if (name[0] != '\0') {
            param_add(line, implied_name(name), name);
        }

        return p;
    }

    change_case(name, 'a', 'z', -32);

    do {
        p++;

        if (p < end && *p == '"') {
            start = ++p;

            while (p < end && *p != '"') {
                p++;
            }

            stop = p;
            p += p < end ? 1 : 0;

            /* what is no part of the quoted text is no part of anything */
            while (p < end && *p != ',' && *p != ';' && *p != ':') {
                p++;
            }

        } else {
            start = p;

            while (p < end && *p != ',' && *p != ';' && *p != ':') {
                p++;
            }

            stop = p;
        }

        if (line->seen++ <= SEEN_MAX) {
            value = param_value(ctx, start, (size_t) (stop - start));
            param_add(line, name, value);
        }
    } while (p < end && *p == ',');

    return p;
}


/* The value in UTF-8, by what the parameters say of it. */
static char *
decode_value(TALLOC_CTX *ctx, const cx_vline_t *line, const char *text,
             size_t len)
{
    char *copy, *value;

    if (!cx_vline_has(line, "ENCODING", "QUOTED-PRINTABLE")) {
        return cx_vtext_utf8(ctx, text, len, cx_vline_get(line, "CHARSET"));
    }

    copy = cx_must(talloc_memdup(ctx, len == 0 ? "" : text, len + (len == 0)));
    len = cx_vtext_quoted(copy, len);
    value = cx_vtext_utf8(ctx, copy, len, cx_vline_get(line, "CHARSET"));
    talloc_free(copy);

    return value;
}


/* Takes a line apart; false: it is none of a vCard.  ctx owns its texts. */
static bool
read_line(TALLOC_CTX *ctx, cx_vline_t *line, const char *text, size_t len)
{
    const char *p = text, *end = text + len;
    char *dot;

    while (p < end && *p != ';' && *p != ':') {
        p++;
    }

    if (p == end || p == text || p - text > 200) {
        return false;
    }

    memset(line, 0, sizeof(cx_vline_t));
    line->name = cx_vtext_utf8(ctx, text, (size_t) (p - text), NULL);
    line->params = cx_must(talloc_array(ctx, cx_vparam_t, 1));
    dot = strrchr(line->name, '.');

    if (dot != NULL) {
        line->group = line->name;
        line->name = dot + 1;
        *dot = '\0';
        change_case(line->group, 'A', 'Z', 32);
    }

    change_case(line->name, 'a', 'z', -32);

    while (p < end && *p == ';') {
        p = read_param(ctx, line, p + 1, end);
    }

    if (p == end || line->name[0] == '\0') {
        return false;
    }

    line->value = decode_value(ctx, line, p + 1, (size_t) (end - p - 1));

    return true;
}


/* 2.1's AGENT: a vCard inside. */
static void
skip_nested(input_t *input)
{
    unsigned depth = 1;
    raw_t line;

    while (depth > 0 && next_line(input, &line)) {
        if (line_is(&line, "BEGIN:VCARD")) {
            depth++;
        } else if (line_is(&line, "END:VCARD")) {
            depth--;
        }
    }
}


/* Moves past BEGIN:VCARD.  false: there is none. */
static bool
find_begin(input_t *input)
{
    static const char mark[] = "\xEF\xBB\xBF";
    raw_t line;

    while (next_line(input, &line)) {
        if (line.len > 3 && memcmp(line.text, mark, 3) == 0) {
            line.text += 3;
            line.len -= 3;
        }

        if (line_is(&line, "BEGIN:VCARD")) {
            return true;
        }
    }

    return false;
}


static void
read_version(cx_vlines_t *lines, const char *value)
{
    value += strspn(value, " ");

    if (value[0] == '4') {
        lines->version = 4;
    } else if (value[0] == '2') {
        lines->version = 2;
    } else {
        lines->version = 3;
    }
}


/* The lines up to the end; false: there are too many. */
static bool
read_lines(input_t *input, cx_vlines_t *lines, cx_buf_t *buf)
{
    const char *before;
    TALLOC_CTX *ctx;
    cx_vline_t line;
    raw_t raw;
    size_t room = 0;
    bool fits = true, agent = false;

    for (;;) {
        before = input->p;

        if (!next_unfolded(input, buf)) {
            break;
        }

        raw.text = cx_buf_text(buf);
        raw.len = buf->len;

        if (line_is(&raw, "END:VCARD")) {
            break;
        }

        if (line_is(&raw, "BEGIN:VCARD")) {
            if (!agent) {
                input->p = before; /* the end of this one is missing */
                break;
            }

            skip_nested(input);
            agent = false;
            continue;
        }

        ctx = cx_must(talloc_new(lines));

        if (!fits || !read_line(ctx, &line, raw.text, raw.len)) {
            talloc_free(ctx);
            continue;
        }

        agent = strcmp(line.name, "AGENT") == 0
                && line.value[strspn(line.value, " \t")] == '\0';

        if (strcmp(line.name, "VERSION") == 0) {
            read_version(lines, line.value);
            continue;
        }

        fits = lines->n < LINES_MAX;

        if (lines->n == room && fits) {
            room = room == 0 ? 32 : room * 2;
            lines->lines =
                cx_must(talloc_realloc(lines, lines->lines, cx_vline_t, room));
        }

        if (fits && !agent) {
            lines->lines[lines->n++] = line;
        }
    }

    return fits;
}


cx_vlines_t *
cx_vcard_parse(TALLOC_CTX *ctx, const char **text, size_t *len,
               const char **why)
{
    input_t input = { *text, *text + *len };
    cx_vlines_t *lines;
    cx_buf_t buf;
    bool fits = false;

    *why = NULL;
    lines = cx_must(talloc_zero(ctx, cx_vlines_t));
    lines->version = 3;
    cx_buf_init(&buf, lines);

    if (!find_begin(&input)) {
        *why = "There is no vCard.";
    } else {
        fits = read_lines(&input, lines, &buf);
    }

    *len = (size_t) (input.end - input.p);
    *text = input.p;

    if (*why == NULL && !fits) {
        *why = "The vCard has too many properties.";
    }

    if (*why == NULL && lines->n == 0) {
        *why = "The vCard is empty.";
    }

    if (*why != NULL) {
        talloc_free(lines);
        return NULL;
    }

    talloc_free(buf.data);

    return lines;
}


const char *
cx_vline_get(const cx_vline_t *line, const char *name)
{
    return cx_vline_get_nth(line, name, 0);
}


const char *
cx_vline_get_nth(const cx_vline_t *line, const char *name, size_t n)
{
    size_t i;

    for (i = 0; i < line->n; i++) {
        if (strcmp(line->params[i].name, name) == 0) {
            return n < line->params[i].n ? line->params[i].values[n] : NULL;
        }
    }

    return NULL;
}


bool
cx_vline_has(const cx_vline_t *line, const char *name, const char *value)
{
    size_t i, j;

    for (i = 0; i < line->n; i++) {
        for (j = 0; j < line->params[i].n; j++) {
            if (strcmp(line->params[i].name, name) == 0
                && strcasecmp(line->params[i].values[j], value) == 0) {
                return true;
            }
        }
    }

    return false;
}
