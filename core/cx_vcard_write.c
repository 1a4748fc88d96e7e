#include "cx_vcard_patch.h"

#include <stdlib.h>
#include <string.h>


/* What a patch translates: the name, or one item of a property that a line of
 * its own shows.  Returns the length of that part of the path, 0: neither. */
static size_t
target_length(const char *path)
{
    static const char *const properties[] = {
        "titles/", "organizations/", "nicknames/", "notes/", "addresses/",
    };
    size_t i, len;

    if (strncmp(path, "name", 4) == 0 && (path[4] == '/' || path[4] == '\0')) {
        return 4;
    }

    for (i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
        len = strlen(properties[i]);

        if (strncmp(path, properties[i], len) == 0) {
            return len + strcspn(path + len, "/");
        }
    }

    return 0;
}


/* Draws alt_ids for what `localizations` translate. */
static void
mark_localized(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *all, *patches;
    cx_json_t *marks;
    char *target;
    size_t i, j, len;

    all = cx_json_get(card, "localizations");

    if (all == NULL || all->type != CX_JSON_OBJECT) {
        return;
    }

    marks = cx_json_object(writer->ctx);

    for (i = 0; i < all->n; i++) {
        patches = all->items[i];

        for (j = 0; j < patches->n && marks->n < 100; j++) {
            if (patches->type != CX_JSON_OBJECT) {
                break;
            }

            len = target_length(patches->items[j]->name);
            target =
                cx_must(talloc_strndup(marks, patches->items[j]->name, len));

            if (len > 0 && cx_json_get(marks, target) == NULL) {
                cx_json_put(marks, target,
                            cx_json_integer(marks, (int64_t) marks->n + 1));
            }
        }
    }

    writer->localized = marks;
}


/* One property or item as it is in another language. */
static void
write_translated(cx_vcard_writer_t *writer, const char *target,
                 const cx_json_t *card)
{
    const cx_json_t *item;
    const char *slash;
    char *property;

    slash = strchr(target, '/');

    if (slash == NULL) {
        cx_vitem_mark(writer, target, NULL);
        cx_vcard_write_name(writer, card);
        return;
    }

    property =
        cx_must(talloc_strndup(writer->ctx, target, (size_t) (slash - target)));
    item = cx_json_get(cx_json_get(card, property), slash + 1);

    if (item != NULL && item->type == CX_JSON_OBJECT) {
        cx_vitem_mark(writer, property, item->name);
        cx_vitem_write(writer, property, item);
    }
}


/* RFC 9555, 2.6.1: translations are lines with ALTID and LANGUAGE. */
static void
write_localizations(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const cx_json_t *all, *patches, *mark;
    cx_json_t *translated;
    bool touched;
    size_t i, j, k;

    if (writer->localized == NULL) {
        return;
    }

    all = cx_json_get(card, "localizations");

    for (i = 0; i < all->n && i < 20; i++) {
        patches = all->items[i];

        if (patches->type != CX_JSON_OBJECT) {
            continue;
        }

        translated = cx_json_copy(writer->ctx, card);

        for (j = 0; j < patches->n && j < 100; j++) {
            cx_patch_apply(translated, patches->items[j]->name,
                           patches->items[j]);
        }

        writer->language = patches->name;

        for (k = 0; k < writer->localized->n; k++) {
            mark = writer->localized->items[k];
            touched = false;

            for (j = 0; j < patches->n && j < 100 && !touched; j++) {
                touched =
                    target_length(patches->items[j]->name) == strlen(mark->name)
                    && strncmp(patches->items[j]->name, mark->name,
                               strlen(mark->name))
                           == 0;
            }

            if (touched) {
                write_translated(writer, mark->name, translated);
            }
        }

        talloc_free(translated);
    }

    writer->language = NULL;
    writer->alt_id = 0;
}


static void
write_begin(cx_vcard_writer_t *writer)
{
    cx_buf_puts(&writer->out, "BEGIN:VCARD\r\nVERSION:");
    cx_buf_puts(&writer->out,
                writer->version == CX_VCARD_4 ? "4.0\r\n" : "3.0\r\n");
}


/* What would be lost goes into JSPROP (RFC 9555, 3.2.1); found by reading the
 * lines so far as anyone would. */
static void
write_lost(cx_vcard_writer_t *writer, const cx_json_t *card)
{
    const char *text, *why;
    cx_json_t *read;
    size_t len;

    text = cx_must(
        talloc_asprintf(writer->ctx, "%sEND:VCARD\r\n", writer->out.data));
    len = strlen(text);
    read = cx_vcard_read(writer->ctx, &text, &len, &why);

    if (read != NULL) {
        cx_vcard_write_jsprops(writer, card, read);
    }
}


static bool
is_given(const cx_vcard_media_t *media, size_t n_media, const char *kind)
{
    size_t i;

    for (i = 0; i < n_media; i++) {
        if (kind != NULL && strcmp(media[i].kind, kind) == 0) {
            return true;
        }
    }

    return false;
}


/* Phones that read 3.0 take one picture: the one that is given, not a URI of
 * the card's. */
static const cx_json_t *
without_doubles(TALLOC_CTX *ctx, const cx_json_t *card,
                const cx_vcard_media_t *media, size_t n_media)
{
    const cx_json_t *items;
    cx_json_t *copy, *left;
    size_t i;

    items = cx_json_get(card, "media");

    if (items == NULL || items->type != CX_JSON_OBJECT || n_media == 0) {
        return card;
    }

    copy = cx_json_copy(ctx, card);
    left = cx_json_object(copy);

    for (i = 0; i < items->n; i++) {
        if (!is_given(media, n_media, cx_json_text(items->items[i], "kind"))) {
            cx_json_put(left, items->items[i]->name,
                        cx_json_copy(left, items->items[i]));
        }
    }

    cx_json_put(copy, "media", left);

    return copy;
}


/* Takes the text over and frees the rest. */
static char *
finish(TALLOC_CTX *ctx, cx_vcard_writer_t *writer, size_t *len)
{
    char *text;

    cx_buf_puts(&writer->out, "END:VCARD\r\n");
    text = talloc_steal(ctx, writer->out.data);

    if (len != NULL) {
        *len = writer->out.len;
    }

    talloc_free(writer->ctx);

    return text;
}


char *
cx_vcard_write(TALLOC_CTX *ctx, const cx_json_t *card,
               cx_vcard_version_t version, const cx_vcard_media_t *media,
               size_t n_media, size_t *len)
{
    cx_vcard_writer_t writer;
    size_t i;

    cx_vcard_writer_init(&writer, cx_must(talloc_new(ctx)), version);
    write_begin(&writer);

    if (version == CX_VCARD_4) {
        writer.kept = cx_json_get(card, "vCardProps");
        mark_localized(&writer, card);
    } else {
        card = without_doubles(writer.ctx, card, media, n_media);
    }

    cx_vitem_mark(&writer, "name", NULL);
    cx_vcard_write_name(&writer, card);
    cx_vcard_write_items(&writer, card);
    cx_vcard_write_rest(&writer, card);

    if (version == CX_VCARD_4) {
        write_localizations(&writer, card);
        cx_vcard_write_kept(&writer, card);
        write_lost(&writer, card);
    }

    for (i = 0; i < n_media; i++) {
        cx_vcard_write_medium(&writer, &media[i]);
    }

    return finish(ctx, &writer, len);
}


char *
cx_vcard_write_short(TALLOC_CTX *ctx, const cx_json_t *card, size_t *len)
{
    cx_vcard_writer_t writer;

    cx_vcard_writer_init(&writer, cx_must(talloc_new(ctx)), CX_VCARD_3);
    writer.brief = true;
    write_begin(&writer);
    cx_vcard_write_name(&writer, card);
    cx_vcard_write_items(&writer, card);
    cx_vcard_write_rest(&writer, card);

    return finish(ctx, &writer, len);
}
