#include "page_write.h"

#include <stdarg.h>
#include <string.h>

#include "cx_jscontact.h"

#define HUES 12 /* of web/card.css */


void
cx_html_text(cx_buf_t *out, const char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        switch (*text) {
        case '&':
            cx_buf_puts(out, "&amp;");
            break;
        case '<':
            cx_buf_puts(out, "&lt;");
            break;
        case '>':
            cx_buf_puts(out, "&gt;");
            break;
        case '"':
            cx_buf_puts(out, "&quot;");
            break;
        case '\'':
            cx_buf_puts(out, "&#39;");
            break;
        default:
            /* other control characters have no place in HTML */
            if ((unsigned char) *text >= 0x20 || *text == '\n'
                || *text == '\t') {
                cx_buf_putc(out, *text);
            }
        }
    }
}


void
cx_html(cx_buf_t *out, const char *format, ...)
{
    char *text;
    va_list args;

    va_start(args, format);
    text = cx_must(talloc_vasprintf(out->ctx, format, args));
    va_end(args);

    cx_buf_puts(out, text);
    talloc_free(text);
}


/* The card's colour: always the same for one card. */
static unsigned
hue(const char *card_id)
{
    unsigned sum;

    for (sum = 0; *card_id != '\0'; card_id++) {
        sum = sum * 31 + (unsigned char) *card_id;
    }

    return sum % HUES;
}


static void
head(cx_buf_t *out, const char *language, const char *title)
{
    cx_html(
        out,
        "<!DOCTYPE html>\n<html lang=\"%s\">\n<head>\n"
        "<meta charset=\"utf-8\">\n"
        "<meta name=\"viewport\" content=\"width=device-width, "
        "initial-scale=1, viewport-fit=cover\">\n"
        "<meta name=\"robots\" content=\"noindex, nofollow\">\n"
        "<meta name=\"referrer\" content=\"no-referrer\">\n"
        "<meta name=\"color-scheme\" content=\"light dark\">\n"
        "<meta name=\"theme-color\" content=\"#f4f4f7\" "
        "media=\"(prefers-color-scheme: light)\">\n"
        "<meta name=\"theme-color\" content=\"#101014\" "
        "media=\"(prefers-color-scheme: dark)\">\n"
        "<meta name=\"format-detection\" content=\"telephone=no\">\n"
        "<link rel=\"icon\" type=\"image/svg+xml\" "
        "href=\"/static/icon.svg\">\n"
        "<link rel=\"stylesheet\" href=\"/static/card.css?v=" CX_PAGE_VERSION
        "\">\n<title>",
        cx_page_language_tag(language));
    cx_html_text(out, title);
    cx_buf_puts(out, "</title>\n");
}


static void
property(cx_buf_t *out, const char *name, const char *value)
{
    cx_html(out, "<meta property=\"%s\" content=\"", name);
    cx_html_text(out, value);
    cx_buf_puts(out, "\">\n");
}


/* What a messenger shows of a link (Open Graph). */
static void
preview(cx_page_writer_t *p, const cx_summary_t *summary, const char *name)
{
    char *text;

    property(&p->out, "og:type", "profile");
    property(&p->out, "og:title", name);

    if (summary->title != NULL || summary->organisation != NULL) {
        text = talloc_asprintf(
            p->out.ctx, "%s%s%s", summary->title != NULL ? summary->title : "",
            summary->title != NULL && summary->organisation != NULL ? " · "
                                                                    : "",
            summary->organisation != NULL ? summary->organisation : "");
        property(&p->out, "og:description", text);
    }

    if (p->page->thumbnail_id != NULL) {
        property(&p->out, "og:image",
                 talloc_asprintf(p->out.ctx, "%s/t/%s", p->page->public_url,
                                 p->page->thumbnail_id));
    }
}


static bool
has_medium(const cx_page_writer_t *p, const char *kind)
{
    return cx_json_text(cx_json_get(p->page->media, kind), "type") != NULL;
}


static void
picture(cx_page_writer_t *p, const char *kind, cx_say_t what, const char *name)
{
    size_t before;
    const char *alt;

    alt = cx_say(p->page->language, what);
    before = strcspn(alt, "%"); /* where the name goes */

    cx_html(&p->out, "<img class=\"%s\" src=\"/c/%s/%s?k=%s\" alt=\"", kind,
            p->page->card_id, kind, p->page->key);
    cx_buf_add(&p->out, alt, before);
    cx_html_text(&p->out, name);
    cx_html(&p->out, "%s\">\n", alt + before + strlen("%s"));
}


/* A word that is only a title, as "Dr." */
static bool
is_title(const char *word)
{
    size_t len;

    len = strcspn(word, " ");

    return len > 0 && word[len] == ' ' && word[len - 1] == '.';
}


static void
add_initial(cx_page_writer_t *p, const char *word)
{
    size_t len;

    len = cx_utf8_length(word, strlen(word));
    cx_html_text(&p->out, talloc_strndup(p->out.ctx, word, len));
}


/* Without a photo: first letters of the first and the last word, or the first
 * one alone where a name is not written in Latin, Greek or Cyrillic. */
static void
initials(cx_page_writer_t *p, const char *name)
{
    const char *last;

    cx_buf_puts(&p->out, "<span class=\"photo initials\" "
                         "aria-hidden=\"true\">");

    while (is_title(name)) {
        name += strcspn(name, " ") + 1;
    }

    if (*name == '\0') {
        cx_buf_puts(&p->out, "<span class=\"icon person\"></span>");

    } else {
        add_initial(p, name);
        last = strrchr(name, ' ');

        if (last != NULL && (unsigned char) name[0] < 0xd5) {
            add_initial(p, last + 1);
        }
    }

    cx_buf_puts(&p->out, "</span>\n");
}


static void
paragraph(cx_page_writer_t *p, const char *class, const char *text)
{
    if (text == NULL || *text == '\0') {
        return;
    }

    cx_html(&p->out, "<p class=\"%s\" dir=\"auto\"%s>", class, p->lang);
    cx_html_text(&p->out, text);
    cx_buf_puts(&p->out, "</p>\n");
}


static void
titles(cx_page_writer_t *p)
{
    size_t i, n;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "titles"), &n);

    for (i = 0; i < n; i++) {
        paragraph(p, "title", cx_json_text(items[i], "name"));
    }
}


static void
organisations(cx_page_writer_t *p)
{
    char *text;
    size_t i, j, n;
    const char *name;
    const cx_json_t **items, *units;

    items =
        cx_page_items(p->out.ctx, cx_json_get(p->card, "organizations"), &n);

    for (i = 0; i < n; i++) {
        name = cx_json_text(items[i], "name");
        text = talloc_strdup(p->out.ctx, name != NULL ? name : "");
        units = cx_json_get(items[i], "units");

        for (j = 0; units != NULL && j < units->n; j++) {
            name = cx_json_text(units->items[j], "name");

            if (name != NULL && *name != '\0') {
                text = talloc_asprintf_append(text, "%s%s",
                                              *text != '\0' ? " · " : "", name);
            }
        }

        paragraph(p, "organisation", text);
    }
}


/* Nicknames and pronouns, in one quiet line under the name. */
static void
also(cx_page_writer_t *p, const char *full_name)
{
    char *text;
    size_t i, j, n;
    const char *name;
    const cx_json_t **items;

    static const char *const from[][2] = {
        { "nicknames", "name" },
        { "pronouns", "pronouns" },
    };

    text = talloc_strdup(p->out.ctx, "");

    for (j = 0; j < 2; j++) {
        items = cx_page_items(
            p->out.ctx,
            cx_json_get(j == 0 ? p->card : cx_json_get(p->card, "speakToAs"),
                        from[j][0]),
            &n);

        for (i = 0; i < n; i++) {
            name = cx_json_text(items[i], from[j][1]);

            if (name != NULL && *name != '\0' && strcmp(name, full_name) != 0) {
                text = talloc_asprintf_append(text, "%s%s",
                                              *text != '\0' ? " · " : "", name);
            }
        }
    }

    paragraph(p, "also", text);
}


/* Who it is.  The card says in which language it is written: that chooses
 * the right form of Han characters, and the right voice. */
static void
who(cx_page_writer_t *p, const char *name)
{
    cx_buf_puts(&p->out, "<header class=\"who\">\n<div class=\"band\">");

    if (has_medium(p, "logo")) {
        picture(p, "logo", CX_SAY_LOGO_OF, name);
    }

    cx_buf_puts(&p->out, "</div>\n");

    if (has_medium(p, "photo")) {
        picture(p, "photo", CX_SAY_PHOTO_OF, name);

    } else {
        initials(p, name);
    }

    cx_html(&p->out, "<h1 dir=\"auto\"%s>", p->lang);
    cx_html_text(&p->out, *name != '\0'
                              ? name
                              : cx_say(p->page->language, CX_SAY_NOBODY));
    cx_buf_puts(&p->out, "</h1>\n");
    also(p, name);
    titles(p);
    organisations(p);
    cx_buf_puts(&p->out, "</header>\n");
}


static void
action(cx_page_writer_t *p, const char *icon, cx_say_t what, const char *link)
{
    if (link == NULL) {
        return;
    }

    cx_html(&p->out,
            "<a class=\"action %s-action\" rel=\"noopener noreferrer "
            "nofollow\" href=\"",
            icon);
    cx_html_text(&p->out, link);
    cx_html(&p->out,
            "\"><span class=\"icon %s\" aria-hidden=\"true\"></span>%s</a>\n",
            icon, cx_say(p->page->language, what));
}


/* The first of a property's items for which `link` has something. */
static char *
first(cx_page_writer_t *p, const char *name,
      char *(*link)(TALLOC_CTX *ctx, const cx_json_t *item))
{
    char *found;
    size_t i, n;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, name), &n);
    found = NULL;

    for (i = 0; i < n && found == NULL; i++) {
        found = link(p->out.ctx, items[i]);
    }

    return found;
}


static char *
call_link(TALLOC_CTX *ctx, const cx_json_t *item)
{
    return cx_page_callable(item)
               ? cx_page_tel(ctx, "tel:", cx_json_text(item, "number"))
               : NULL;
}


static char *
text_link(TALLOC_CTX *ctx, const cx_json_t *item)
{
    return cx_page_textable(item)
               ? cx_page_tel(ctx, "sms:", cx_json_text(item, "number"))
               : NULL;
}


static char *
mail_link(TALLOC_CTX *ctx, const cx_json_t *item)
{
    return cx_page_mail(ctx, cx_json_text(item, "address"));
}


static char *
web_link(TALLOC_CTX *ctx, const cx_json_t *item)
{
    return cx_page_link(ctx, cx_json_text(item, "uri"));
}


static void
actions(cx_page_writer_t *p)
{
    cx_html(&p->out, "<nav class=\"actions\" aria-label=\"%s\">\n",
            cx_say(p->page->language, CX_SAY_REACH));
    action(p, "phone", CX_SAY_CALL, first(p, "phones", call_link));
    action(p, "message", CX_SAY_TEXT, first(p, "phones", text_link));
    action(p, "mail", CX_SAY_MAIL, first(p, "emails", mail_link));
    action(p, "map", CX_SAY_MAP, first(p, "addresses", cx_page_map));
    action(p, "web", CX_SAY_WEB, first(p, "links", web_link));
    cx_buf_puts(&p->out, "</nav>\n");
}


/* The lang attribute of what the card says; empty for an unknown language.
 * RFC 5646 allows letters, digits and hyphens only. */
static const char *
lang_attribute(TALLOC_CTX *ctx, const cx_json_t *card)
{
    const char *tag;

    tag = cx_json_text(card, "language");

    if (tag == NULL
        || strspn(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789-")
               != strlen(tag)) {
        tag = "";
    }

    return cx_must(talloc_asprintf(ctx, " lang=\"%s\"", tag));
}


static void
foot(cx_buf_t *out, const char *language)
{
    cx_html(out,
            "<footer><span class=\"mark\">cardx</span> <span>%s</span>"
            "</footer>\n</body>\n</html>\n",
            cx_say(language, CX_SAY_FOOT));
}


char *
cx_page_write(TALLOC_CTX *ctx, const cx_page_t *page, size_t *len)
{
    char *name;
    cx_page_writer_t p;
    cx_summary_t summary;

    cx_buf_init(&p.out, ctx);
    p.page = page;
    p.card = cx_page_localise(ctx, page->card, page->language);

    p.lang = lang_attribute(ctx, p.card);

    name = cx_jscontact_full_name(ctx, p.card);
    cx_jscontact_summary(ctx, p.card, NULL, &summary);

    head(&p.out, page->language,
         *name != '\0' ? name : cx_say(page->language, CX_SAY_NOBODY));
    preview(&p, &summary, name);
    cx_html(&p.out, "</head>\n<body class=\"hue-%u\">\n", hue(page->card_id));
    cx_buf_puts(&p.out, "<main><div class=\"face\">\n");
    who(&p, name);
    actions(&p);
    cx_html(&p.out,
            "<div class=\"save\"><a href=\"/c/%s.vcf?k=%s\">"
            "<span class=\"icon save-icon\" aria-hidden=\"true\"></span>"
            "%s</a><p>%s</p></div>\n</div>\n<div class=\"more\">",
            page->card_id, page->key, cx_say(page->language, CX_SAY_SAVE),
            cx_say(page->language, CX_SAY_SAVE_HINT));
    cx_page_sections(&p);
    cx_buf_puts(&p.out, "</div></main>\n");
    foot(&p.out, page->language);

    *len = p.out.len;

    return cx_buf_text(&p.out);
}


char *
cx_page_refused(TALLOC_CTX *ctx, const char *language, size_t *len)
{
    cx_buf_t out;

    cx_buf_init(&out, ctx);
    head(&out, language, cx_say(language, CX_SAY_REFUSED_TITLE));
    cx_html(&out,
            "</head>\n<body class=\"refused\">\n<main>"
            "<span class=\"icon lock\" aria-hidden=\"true\"></span>\n"
            "<h1>%s</h1>\n<p>%s</p>\n<p>%s</p></main>\n",
            cx_say(language, CX_SAY_REFUSED_TITLE),
            cx_say(language, CX_SAY_REFUSED),
            cx_say(language, CX_SAY_REFUSED_WHAT));
    foot(&out, language);

    *len = out.len;

    return cx_buf_text(&out);
}
