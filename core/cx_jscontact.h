/*
 * JSContact Cards (RFC 9553): checking what a client sends, and showing of a
 * card what a list of fields allows.
 */

#ifndef CX_JSCONTACT_H
#define CX_JSCONTACT_H

#include "cx_buf.h"
#include "cx_json.h"
#include "cx_projection.h"

#define CX_CARD_TEXT_MAX 8192   /* bytes of one string */
#define CX_CARD_BYTES_MAX 65536 /* bytes of a whole card */
#define CX_CARD_ITEMS_MAX 1000  /* members or elements of any part of it */
#define CX_FIELDS_MAX 100       /* entries of a list of fields */

/* Checks a Card: @type and version present and right ("Card", "1.0"), uid a
 * string if present, the types of every property that RFC 9553 names, ids of
 * items by its 1.4.1, strings not over-long, nothing with more members than
 * can be compared with each other.  Unknown properties pass.  A
 * missing @type, version or uid is put in (uid: urn:uuid, drawn).  NULL if
 * all is well, else a sentence for the client that names the place by JSON
 * pointer, owned by ctx. */
const char *cx_jscontact_check(TALLOC_CTX *ctx, cx_json_t *card);

/* A list of fields as the API takes it (a JSON array of names or item paths
 * such as "phones/work"), in canonical form: sorted, unique, `name` left out
 * since it is always shown.  NULL or JSON null is "all": *fields is NULL.
 * Returns NULL, or a sentence for the client. */
const char *cx_fields_read(TALLOC_CTX *ctx, const cx_json_t *list,
                           char ***fields /* NULL-terminated, or NULL */);

/* The same list, once it has been read: NULL, or a sentence for the client,
 * owned by ctx, if an entry can name nothing of any card: a wildcard, a
 * property that is written otherwise, an item of what has none.  Properties
 * that cardx does not know can be there.  Not for lists that are stored, which
 * were taken by what was known then. */
const char *cx_fields_check(TALLOC_CTX *ctx, const cx_json_t *list);

/* The name of the view: empty for all, else CX_VIEW_LEN hex digits: the start
 * of the SHA-256 of the canonical fields joined by ",".  `out` takes
 * CX_VIEW_LEN + 1 bytes. */
void cx_view_name(char *const *fields, char *out);

/* Whether a property or medium (`photo`, `logo`, `sound`, `video`) shows. */
bool cx_fields_show(char *const *fields, const char *name);

/* A new Card with what `fields` lets show: @type, version, uid, kind, name,
 * updated and language always (they are the card's, not the person's), of the
 * other properties only those listed, of a listed path only that item.
 * `localizations` (2.7.1) and `media` entries follow what they are about.
 * fields NULL: a copy. */
cx_json_t *cx_jscontact_view(TALLOC_CTX *ctx, const cx_json_t *card,
                             char *const *fields);

/* What a little name card shows; texts owned by ctx, NULL where there is
 * nothing to show or fields hide it. */
typedef struct {
    char *name;         /* the full name, or made from its components */
    char *title;        /* first title by `pref`, then order */
    char *organisation; /* first organisation, with its first unit */
} cx_summary_t;

void cx_jscontact_summary(TALLOC_CTX *ctx, const cx_json_t *card,
                          char *const *fields, cx_summary_t *summary);

/* The full name for display (2.2.1): `full`, else the components in order
 * with the default separator (none between CJK components), else the first
 * nickname, organisation or e-mail address, else "". Owned by ctx. */
char *cx_jscontact_full_name(TALLOC_CTX *ctx, const cx_json_t *card);

/* Appends a component of a name or an address with the separator before it;
 * NULL: a space, but none between CJK characters. */
void cx_jscontact_join(cx_buf_t *buf, const char *value, const char *separator);

#endif
