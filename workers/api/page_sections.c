#include "page_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What an item's contexts and features are called on the page. */
typedef struct {
    const char *set; /* the member that holds it */
    const char *name;
    cx_say_t say;
} word_t;

static const word_t features[] = {
    { "features", "mobile", CX_SAY_MOBILE },
    { "features", "main-number", CX_SAY_MAIN_NUMBER },
    { "features", "fax", CX_SAY_FAX },
    { "features", "pager", CX_SAY_PAGER },
    { "features", "textphone", CX_SAY_TEXTPHONE },
    { "features", "video", CX_SAY_VIDEO },
};

static const word_t contexts[] = {
    { "contexts", "work", CX_SAY_WORK },
    { "contexts", "private", CX_SAY_PRIVATE },
    { "contexts", "billing", CX_SAY_BILLING },
    { "contexts", "delivery", CX_SAY_DELIVERY },
};

#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))


static const char *
say(const cx_page_writer_t *p, cx_say_t what)
{
    return cx_say(p->page->language, what);
}


static bool
is_set(const cx_json_t *item, const word_t *word)
{
    const cx_json_t *value;

    value = cx_json_get(cx_json_get(item, word->set), word->name);

    return value != NULL && value->type == CX_JSON_BOOLEAN && value->boolean;
}


/* What a row is: its label if it has one, else its feature; and its context,
 * as "Mobile · Work". */
static char *
row_label(const cx_page_writer_t *p, const cx_json_t *item, cx_say_t usual)
{
    size_t i;
    char *label;
    const char *own;

    own = cx_json_text(item, "label");

    if (own != NULL && *own != '\0') {
        return talloc_strdup(p->out.ctx, own);
    }

    label = NULL;

    for (i = 0; i < N_ELEMENTS(features) && label == NULL; i++) {
        if (is_set(item, &features[i])) {
            label = talloc_strdup(p->out.ctx, say(p, features[i].say));
        }
    }

    if (label == NULL) {
        label = talloc_strdup(p->out.ctx, say(p, usual));
    }

    for (i = 0; i < N_ELEMENTS(contexts); i++) {
        if (is_set(item, &contexts[i])) {
            label =
                talloc_asprintf_append(label, " · %s", say(p, contexts[i].say));
        }
    }

    return label;
}


/* One row: icon, what it is, the text, all of it a link if there is one.
 * `note` is for what is read at length. */
static void
row(cx_page_writer_t *p, const char *icon, const char *link, const char *label,
    const char *text, bool note)
{
    const char *tag;

    tag = link != NULL ? "a" : "div";
    cx_html(&p->out, "<li><%s class=\"row%s\"", tag, note ? " note" : "");

    if (link != NULL) {
        cx_buf_puts(&p->out, " rel=\"noopener noreferrer nofollow\" href=\"");
        cx_html_text(&p->out, link);
        cx_buf_putc(&p->out, '"');
    }

    cx_html(&p->out,
            "><span class=\"icon %s\" aria-hidden=\"true\"></span>"
            "<span class=\"what\"><span class=\"label\" dir=\"auto\">",
            icon);
    cx_html_text(&p->out, label);
    cx_html(&p->out, "</span><%s class=\"value\" dir=\"auto\"%s>",
            note ? "span" : "bdi", p->lang);
    cx_html_text(&p->out, text);
    cx_html(&p->out, "</%s></span></%s>", note ? "span" : "bdi", tag);
}


static void
section_begin(cx_page_writer_t *p, cx_say_t title)
{
    cx_buf_puts(&p->out, "<section><h2>");
    cx_html_text(&p->out, say(p, title));
    cx_buf_puts(&p->out, "</h2><ul class=\"rows\">\n");
}


/* Ends a section; one that has nothing in it is taken back. */
static void
section_end(cx_page_writer_t *p, size_t start, size_t begun)
{
    if (p->out.len == begun) {
        p->out.len = start;
        p->out.data[start] = '\0';
        return;
    }

    cx_buf_puts(&p->out, "</ul></section>\n");
}


static void
phone(cx_page_writer_t *p, const cx_json_t *item, bool callable)
{
    char *link;
    const char *number;

    number = cx_json_text(item, "number");

    if (number == NULL || *number == '\0'
        || cx_page_callable(item) != callable) {
        return;
    }

    if (strncasecmp(number, "tel:", 4) == 0) {
        number += 4;
    }

    row(p, callable ? "phone" : "fax",
        callable ? cx_page_tel(p->out.ctx, "tel:", number) : NULL,
        row_label(p, item, CX_SAY_PHONE), number, false);

    link =
        cx_page_textable(item) ? cx_page_tel(p->out.ctx, "sms:", number) : NULL;

    if (link != NULL) {
        cx_buf_puts(&p->out, "<a class=\"aside\" href=\"");
        cx_html_text(&p->out, link);
        cx_html(&p->out,
                "\" aria-label=\"%s\"><span class=\"icon message\" "
                "aria-hidden=\"true\"></span></a>",
                say(p, CX_SAY_TEXT));
    }

    cx_buf_puts(&p->out, "</li>\n");
}


/* Those that can be called first. */
static void
phones(cx_page_writer_t *p)
{
    int pass;
    size_t i, n;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "phones"), &n);

    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < n; i++) {
            phone(p, items[i], pass == 0);
        }
    }
}


static void
emails(cx_page_writer_t *p)
{
    size_t i, n;
    const char *address;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "emails"), &n);

    for (i = 0; i < n; i++) {
        address = cx_json_text(items[i], "address");

        if (address == NULL || *address == '\0') {
            continue;
        }

        row(p, "mail", cx_page_mail(p->out.ctx, address),
            row_label(p, items[i], CX_SAY_EMAIL), address, false);
        cx_buf_puts(&p->out, "</li>\n");
    }
}


/* An address without what people don't read in it. */
static char *
readable(TALLOC_CTX *ctx, const char *uri)
{
    char *text;
    size_t len;

    if (strncasecmp(uri, "https://", 8) == 0) {
        uri += 8;

    } else if (strncasecmp(uri, "http://", 7) == 0) {
        uri += 7;
    }

    text = cx_must(talloc_strdup(ctx, uri));
    len = strlen(text);

    if (len > 1 && text[len - 1] == '/') {
        text[len - 1] = '\0';
    }

    return text;
}


static void
services(cx_page_writer_t *p)
{
    char *label;
    size_t i, n;
    const char *service, *user, *uri;
    const cx_json_t **items;

    items =
        cx_page_items(p->out.ctx, cx_json_get(p->card, "onlineServices"), &n);

    for (i = 0; i < n; i++) {
        service = cx_json_text(items[i], "service");
        user = cx_json_text(items[i], "user");
        uri = cx_json_text(items[i], "uri");

        if (user == NULL && uri == NULL) {
            continue;
        }

        label = service != NULL && cx_json_text(items[i], "label") == NULL
                    ? talloc_strdup(p->out.ctx, service)
                    : row_label(p, items[i], CX_SAY_PROFILE);

        row(p, "chat", cx_page_link(p->out.ctx, uri), label,
            user != NULL ? user : readable(p->out.ctx, uri), false);
        cx_buf_puts(&p->out, "</li>\n");
    }
}


static void
links(cx_page_writer_t *p)
{
    size_t i, n;
    const char *uri;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "links"), &n);

    for (i = 0; i < n; i++) {
        uri = cx_json_text(items[i], "uri");

        if (uri == NULL || *uri == '\0') {
            continue;
        }

        row(p, "web", cx_page_link(p->out.ctx, uri),
            row_label(p, items[i], CX_SAY_WEBSITE), readable(p->out.ctx, uri),
            false);
        cx_buf_puts(&p->out, "</li>\n");
    }
}


static void
online(cx_page_writer_t *p)
{
    emails(p);
    services(p);
    links(p);
}


static void
addresses(cx_page_writer_t *p)
{
    char *text;
    size_t i, n;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "addresses"), &n);

    for (i = 0; i < n; i++) {
        text = cx_page_address(p->out.ctx, items[i]);

        if (text != NULL) {
            row(p, "map", cx_page_map(p->out.ctx, items[i]),
                row_label(p, items[i], CX_SAY_ADDRESS), text, false);
            cx_buf_puts(&p->out, "</li>\n");
        }
    }
}


static void
notes(cx_page_writer_t *p)
{
    size_t i, n;
    const char *text;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "notes"), &n);

    for (i = 0; i < n; i++) {
        text = cx_json_text(items[i], "note");

        if (text != NULL && *text != '\0') {
            row(p, "text", NULL, say(p, CX_SAY_NOTE), text, true);
            cx_buf_puts(&p->out, "</li>\n");
        }
    }
}


static void
personal(cx_page_writer_t *p)
{
    cx_say_t what;
    size_t i, n;
    const char *kind, *value, *label;
    const cx_json_t **items;

    items = cx_page_items(p->out.ctx, cx_json_get(p->card, "personalInfo"), &n);

    for (i = 0; i < n; i++) {
        kind = cx_json_text(items[i], "kind");
        value = cx_json_text(items[i], "value");

        if (kind == NULL || value == NULL || *value == '\0') {
            continue;
        }

        what = strcmp(kind, "expertise") == 0 ? CX_SAY_EXPERTISE
               : strcmp(kind, "hobby") == 0   ? CX_SAY_HOBBY
                                              : CX_SAY_INTEREST;
        label = cx_json_text(items[i], "label");

        row(p, "star", NULL, label != NULL ? label : say(p, what), value,
            false);
        cx_buf_puts(&p->out, "</li>\n");
    }
}


/* A PartialDate, or the day of a Timestamp (RFC 9553, 2.8.1), as the page's
 * language writes it. */
static char *
date_text(const cx_page_writer_t *p, const cx_json_t *date)
{
    static const char *const months[] = {
        "January", "February", "March",     "April",   "May",      "June",
        "July",    "August",   "September", "October", "November", "December",
    };

    char *text;
    const char *utc;
    int y, m, d;
    int64_t year, month, day;

    year = 0;
    month = 0;
    day = 0;
    utc = cx_json_text(date, "utc");

    if (utc != NULL && sscanf(utc, "%4d-%2d-%2d", &y, &m, &d) == 3) {
        year = y;
        month = m;
        day = d;

    } else {
        (void) cx_json_to_integer(cx_json_get(date, "year"), &year);
        (void) cx_json_to_integer(cx_json_get(date, "month"), &month);
        (void) cx_json_to_integer(cx_json_get(date, "day"), &day);
    }

    if (month < 1 || month > 12) {
        return year > 0 ? talloc_asprintf(p->out.ctx, "%d", (int) year) : NULL;
    }

    text = talloc_strdup(p->out.ctx, "");

    if (strcmp(p->page->language, "zh") == 0) {
        text =
            year > 0 ? talloc_asprintf_append(text, "%d年", (int) year) : text;
        text = talloc_asprintf_append(text, "%d月", (int) month);
        return day > 0 ? talloc_asprintf_append(text, "%d日", (int) day) : text;
    }

    text = day > 0 ? talloc_asprintf_append(text, "%d ", (int) day) : text;
    text = talloc_asprintf_append(text, "%s", months[month - 1]);

    return year > 0 ? talloc_asprintf_append(text, " %d", (int) year) : text;
}


static void
anniversaries(cx_page_writer_t *p)
{
    char *text;
    cx_say_t what;
    size_t i, n;
    const char *kind, *label, *lang;
    const cx_json_t **items;

    items =
        cx_page_items(p->out.ctx, cx_json_get(p->card, "anniversaries"), &n);

    /* dates are in the page's language, not in the card's */
    lang = p->lang;
    p->lang = "";

    for (i = 0; i < n; i++) {
        kind = cx_json_text(items[i], "kind");
        text = date_text(p, cx_json_get(items[i], "date"));

        if (text == NULL) {
            continue;
        }

        what = kind == NULL                   ? CX_SAY_ANNIVERSARY
               : strcmp(kind, "birth") == 0   ? CX_SAY_BIRTHDAY
               : strcmp(kind, "wedding") == 0 ? CX_SAY_WEDDING
               : strcmp(kind, "death") == 0   ? CX_SAY_DEATH
                                              : CX_SAY_ANNIVERSARY;
        label = cx_json_text(items[i], "label");

        row(p, "day", NULL, label != NULL ? label : say(p, what), text, false);
        cx_buf_puts(&p->out, "</li>\n");
    }

    p->lang = lang;
}


static void
keywords(cx_page_writer_t *p)
{
    char *text;
    size_t i;
    const cx_json_t *set;

    set = cx_json_get(p->card, "keywords");

    if (set == NULL || set->type != CX_JSON_OBJECT || set->n == 0) {
        return;
    }

    text = talloc_strdup(p->out.ctx, set->items[0]->name);

    for (i = 1; i < set->n; i++) {
        text = talloc_asprintf_append(text, ", %s", set->items[i]->name);
    }

    row(p, "star", NULL, say(p, CX_SAY_KEYWORDS), text, false);
    cx_buf_puts(&p->out, "</li>\n");
}


static void
about(cx_page_writer_t *p)
{
    notes(p);
    personal(p);
    keywords(p);
    anniversaries(p);
}


/* Sound and video of the card, played where they are. */
static void
player(cx_page_writer_t *p, const char *kind, cx_say_t title)
{
    bool video;
    const char *type;

    type = cx_json_text(cx_json_get(p->page->media, kind), "type");

    if (type == NULL) {
        return;
    }

    video = strcmp(kind, "video") == 0;
    cx_html(&p->out, "<section class=\"player\"><h2>%s</h2>\n", say(p, title));
    cx_html(&p->out,
            "<%s controls preload=\"%s\"%s><source src=\"/c/%s/%s?k=%s\"",
            video ? "video" : "audio", video ? "metadata" : "none",
            video ? " playsinline" : "", p->page->card_id, kind, p->page->key);
    cx_buf_puts(&p->out, " type=\"");
    cx_html_text(&p->out, type);
    cx_html(&p->out, "\"></%s></section>\n", video ? "video" : "audio");
}


void
cx_page_sections(cx_page_writer_t *p)
{
    static const struct {
        cx_say_t title;
        void (*rows)(cx_page_writer_t *p);
    } sections[] = {
        { CX_SAY_PHONES, phones },
        { CX_SAY_ONLINE, online },
        { CX_SAY_ADDRESSES, addresses },
        { CX_SAY_ABOUT, about },
    };

    size_t i, start, begun;

    for (i = 0; i < N_ELEMENTS(sections); i++) {
        start = p->out.len;
        section_begin(p, sections[i].title);
        begun = p->out.len;
        sections[i].rows(p);
        section_end(p, start, begun);
    }

    player(p, "sound", CX_SAY_LISTEN);
    player(p, "video", CX_SAY_WATCH);
}
