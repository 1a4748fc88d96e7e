#include "contact_transfer.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>

#include "cx_buf.h"

#define DATA "data:"
#define BASE64 ";base64,"
#define OWN_NOTE "cardx-note" /* the id of the holder's among others */
#define OWN_TAGS "cardx:tags" /* what of CATEGORIES are tags, and ... */
#define OWN_KEYWORDS "cardx:keywords"
#define MEDIUM_MAX 6291456 /* bytes; an import has no more */


/* What the bytes are, by how they begin; NULL: none of these. */
static const char *
sniff(const unsigned char *bytes, size_t len)
{
    size_t i;
    static const struct {
        const char *type;
        size_t at;
        const char *magic;
        size_t len;
    } types[] = { { "image/jpeg", 0, "\xFF\xD8\xFF", 3 },
                  { "image/png", 0, "\x89PNG\r\n\x1A\n", 8 },
                  { "image/gif", 0, "GIF8", 4 },
                  { "image/webp", 8, "WEBP", 4 },
                  { "audio/ogg", 0, "OggS", 4 },
                  { "audio/wav", 8, "WAVE", 4 },
                  { "audio/mpeg", 0, "ID3", 3 } };

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (len > types[i].at + types[i].len
            && memcmp(bytes + types[i].at, types[i].magic, types[i].len) == 0) {
            return types[i].type;
        }
    }

    return NULL;
}


/* The bytes of a data: URI (RFC 2397); NULL: it is none, or not in base64. */
static unsigned char *
read_data(TALLOC_CTX *ctx, const char *uri, size_t *len)
{
    int n, part;
    char *text, *p;
    const char *comma;
    unsigned char *bytes;
    EVP_ENCODE_CTX *decoder;

    comma = strchr(uri, ',');

    if (strncasecmp(uri, DATA, strlen(DATA)) != 0 || comma == NULL
        || (size_t) (comma + 1 - uri) < strlen(BASE64)
        || strncasecmp(comma + 1 - strlen(BASE64), BASE64, strlen(BASE64)) != 0
        || strlen(comma) > MEDIUM_MAX / 3 * 4) {
        return NULL;
    }

    text = cx_must(talloc_strdup(ctx, comma + 1));

    for (p = text; *p != '\0'; p++) {
        *p = (char) (*p == '-' ? '+' : *p == '_' ? '/' : *p);
    }

    bytes = cx_must(talloc_array(ctx, unsigned char, strlen(text) + 4));
    decoder = EVP_ENCODE_CTX_new();
    n = part = 0;

    if (decoder != NULL) {
        EVP_DecodeInit(decoder);
    }

    if (decoder == NULL
        || EVP_DecodeUpdate(decoder, bytes, &n, (unsigned char *) text,
                            (int) strlen(text))
               < 0
        || EVP_DecodeFinal(decoder, bytes + n, &part) < 0) {
        n = part = 0;
    }

    EVP_ENCODE_CTX_free(decoder);
    talloc_free(text);
    *len = (size_t) (n + part);

    if (*len == 0) {
        talloc_free(bytes);
        return NULL;
    }

    return bytes;
}


static bool
has_kind(const cx_media_list_t *media, const char *kind)
{
    size_t i;

    for (i = 0; i < media->n; i++) {
        if (strcmp(media->items[i].kind, kind) == 0) {
            return true;
        }
    }

    return false;
}


/* Which of the kinds that are kept an entry is; NULL: none. */
static const char *
kept_kind(const cx_json_t *entry)
{
    size_t i;
    const char *kind;
    static const char *const kinds[] = { "photo", "logo", "sound" };

    kind = cx_json_text(entry, "kind");

    for (i = 0; kind != NULL && i < 3; i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            return kinds[i];
        }
    }

    return NULL;
}


void
cx_transfer_media(TALLOC_CTX *ctx, cx_json_t *card, cx_media_list_t *media)
{
    size_t i, len;
    unsigned char *bytes;
    cx_json_t *all, *entry;
    const char *kind, *uri, *type;

    media->n = 0;
    all = cx_json_get(card, "media");

    if (all == NULL || all->type != CX_JSON_OBJECT) {
        return;
    }

    for (i = all->n; i > 0; i--) {
        entry = all->items[i - 1];
        kind = kept_kind(entry);
        uri = cx_json_text(entry, "uri");

        if (kind == NULL || uri == NULL || has_kind(media, kind)) {
            continue;
        }

        bytes = read_data(ctx, uri, &len);
        type = bytes != NULL ? sniff(bytes, len) : NULL;

        if (type != NULL
            && (strncmp(type, "audio", 5) == 0)
                   == (strcmp(kind, "sound") == 0)) {
            media->items[media->n].kind = kind;
            media->items[media->n].type = type;
            media->items[media->n].bytes = bytes;
            media->items[media->n++].len = len;
            cx_json_remove(all, entry->name);
        }
    }

    if (all->n == 0) {
        cx_json_remove(card, "media");
    }
}


/* The text of the only note, which says nothing else about itself. */
static const char *
only_note(const cx_json_t *card)
{
    size_t i;
    const char *note;
    const cx_json_t *notes;

    notes = cx_json_get(card, "notes");

    if (notes == NULL || notes->n != 1) {
        return NULL;
    }

    note = cx_json_text(notes->items[0], "note");

    for (i = 0; i < notes->items[0]->n; i++) {
        if (strcmp(notes->items[0]->items[i]->name, "note") != 0
            && strcmp(notes->items[0]->items[i]->name, "@type") != 0) {
            return NULL;
        }
    }

    return note != NULL && *note != '\0' && strlen(note) <= CX_NOTE_MAX ? note
                                                                        : NULL;
}


/* The holder's note among several of the Card's, taken out of them; or the
 * only one there is. */
static void
take_note(cx_json_t *layer, cx_json_t *own)
{
    cx_json_t *notes;
    const char *note;

    notes = cx_json_get(own, "notes");
    note = cx_json_text(cx_json_get(notes, OWN_NOTE), "note");

    if (note == NULL || strlen(note) > CX_NOTE_MAX || *note == '\0') {
        note = only_note(own);
    }

    if (note == NULL) {
        return;
    }

    cx_json_put(layer, "note", cx_json_string(layer, note));
    cx_json_remove(notes, notes->n == 1 ? notes->items[0]->name : OWN_NOTE);

    if (notes->n == 0) {
        cx_json_remove(own, "notes");
    }
}


static bool
has_text(const cx_json_t *list, const char *text)
{
    size_t i;

    for (i = 0; list != NULL && i < list->n; i++) {
        if (list->items[i]->text != NULL
            && strcmp(list->items[i]->text, text) == 0) {
            return true;
        }
    }

    return false;
}


/* Keywords are tags, but for those that our export says are the Card's. */
static void
take_tags(cx_json_t *layer, cx_json_t *own)
{
    size_t i;
    const char *word;
    cx_json_t *tags, *kept;
    const cx_json_t *words, *own_words, *own_tags;

    words = cx_json_get(own, "keywords");
    own_words = cx_json_get(own, OWN_KEYWORDS);
    own_tags = cx_json_get(own, OWN_TAGS);
    tags = cx_json_array(layer);
    kept = cx_json_object(own);

    for (i = 0; words != NULL && i < words->n; i++) {
        word = words->items[i]->name;

        if (cx_json_get(own_words, word) != NULL) {
            cx_json_put(kept, word, cx_json_boolean(kept, true));
        }

        if (cx_json_get(own_words, word) == NULL || has_text(own_tags, word)) {
            cx_json_append(tags, cx_json_string(tags, word));
        }
    }

    cx_json_remove(own, OWN_KEYWORDS);
    cx_json_remove(own, OWN_TAGS);
    cx_json_remove(own, "keywords");

    if (kept->n > 0) {
        cx_json_put(own, "keywords", kept);
    }

    if (tags->n > 0) {
        cx_json_put(layer, "tags", tags);
    }
}


cx_json_t *
cx_transfer_layer(TALLOC_CTX *ctx, const cx_json_t *card,
                  const cx_json_t *members)
{
    size_t i;
    cx_json_t *layer, *own;
    const cx_json_t *member;
    static const char *const names[] = { "note", "tags", "pinned" };

    layer = cx_json_object(ctx);
    own = cx_json_put(layer, "own", cx_json_copy(layer, card));

    for (i = 0; members != NULL && i < 3; i++) {
        member = cx_json_get(members, names[i]);

        if (member != NULL && member->type != CX_JSON_NULL
            && (member->type != CX_JSON_ARRAY || member->n > 0)) {
            cx_json_put(layer, names[i], cx_json_copy(layer, member));
        }
    }

    if (members != NULL) {
        return layer;
    }

    take_note(layer, own);
    take_tags(layer, own);

    return layer;
}


static void
give_note(cx_json_t *card, const char *note)
{
    size_t i;
    char id[24] = OWN_NOTE;
    cx_json_t *notes, *item;

    notes = cx_json_get(card, "notes");

    if (notes == NULL) {
        notes = cx_json_put(card, "notes", cx_json_object(card));
    }

    for (i = 1; cx_json_get(notes, id) != NULL; i++) {
        snprintf(id, sizeof(id), "n%zu", i);
    }

    item = cx_json_put(notes, id, cx_json_object(notes));
    cx_json_put(item, "note", cx_json_string(item, note));
}


/* There is one list in a vCard: where the Card has keywords of its own, both
 * are also told apart. */
static void
give_tags(cx_json_t *card, const cx_json_t *tags)
{
    size_t i;
    cx_json_t *keywords;

    keywords = cx_json_get(card, "keywords");

    if (keywords != NULL && keywords->n > 0) {
        cx_json_put(card, OWN_KEYWORDS, cx_json_copy(card, keywords));
        cx_json_put(card, OWN_TAGS,
                    tags != NULL ? cx_json_copy(card, tags)
                                 : cx_json_array(card));
    }

    for (i = 0; tags != NULL && i < tags->n; i++) {
        keywords = cx_json_get(card, "keywords");

        if (keywords == NULL) {
            keywords = cx_json_put(card, "keywords", cx_json_object(card));
        }

        cx_json_put(keywords, tags->items[i]->text,
                    cx_json_boolean(keywords, true));
    }
}


cx_json_t *
cx_transfer_card(TALLOC_CTX *ctx, const cx_contact_t *c)
{
    cx_json_t *card;
    const char *note;

    card = cx_json_copy(ctx, c->card);
    note = cx_json_text(c->layer, "note");

    if (note != NULL) {
        give_note(card, note);
    }

    give_tags(card, cx_json_get(c->layer, "tags"));

    return card;
}


size_t
cx_vcard_count(const char *text, size_t len)
{
    size_t n, at;
    bool line;
    static const char begin[] = "BEGIN:VCARD";

    n = 0;
    line = true;

    for (at = 0; at < len; at++) {
        /* as a reader, that does not mind what stands before it */
        if (line && (text[at] == ' ' || text[at] == '\t')) {
            continue;
        }

        if (line && len - at >= 3
            && memcmp(text + at, "\xEF\xBB\xBF", 3) == 0) {
            at += 2;
            continue;
        }

        if (line && len - at >= sizeof(begin) - 1
            && strncasecmp(text + at, begin, sizeof(begin) - 1) == 0) {
            n++;
        }

        /* a reader takes either as the end of a line */
        line = text[at] == '\n' || text[at] == '\r';
    }

    return n;
}
