/*
 * A card being made of a vCard's lines.  Shared by the cx_vcard_read*.c
 * files.
 */

#ifndef CX_VCARD_READER_H
#define CX_VCARD_READER_H

#include "cx_vcard_parse.h"

typedef struct {
    TALLOC_CTX *ctx; /* scratch */
    const cx_vlines_t *source;
    cx_json_t *card;
    cx_json_t *labels;  /* group -> X-ABLabel */
    cx_json_t *orgs;    /* group -> id of an organization */
    cx_json_t *alt_ids; /* "TITLE/1" -> "titles/t1" */
} cx_vreader_t;

/* Reads a line; false: JSContact has no place for it. */
typedef bool (*cx_vhandler_t)(cx_vreader_t *reader, const cx_vline_t *line);

typedef struct {
    const char *name; /* of the property */
    cx_vhandler_t read;
} cx_vproperty_t;

/* Tables by concern, each ending with a NULL name. */
extern const cx_vproperty_t cx_vread_name[];
extern const cx_vproperty_t cx_vread_items[];
extern const cx_vproperty_t cx_vread_more[];

/* An item with what any line may say of it: contexts, pref, label, parameters
 * that have no place. */
cx_json_t *cx_vitem_new(cx_vreader_t *reader, const cx_vline_t *line);

#define CX_VITEM_ID 32

/* The id of a new item: the line's PROP-ID if that can be one and is free, or
 * one that starts with `prefix`, written to `number`. */
const char *cx_vitem_id(const cx_vline_t *line, const cx_json_t *items,
                        const char *prefix, char number[CX_VITEM_ID]);

/* Puts an item into a property under its PROP-ID or a new id that starts with
 * `prefix`; a translation (ALTID, LANGUAGE) goes into `localizations`. */
void cx_vitem_put(cx_vreader_t *reader, const cx_vline_t *line,
                  const char *property, const char *prefix, cx_json_t *item);

/* Sets a string; empty text is left out.  Returns whether it was set. */
bool cx_vset(cx_json_t *object, const char *name, const char *text);

/* The line's whole value as text, owned by the reader's ctx. */
char *cx_vline_plain(cx_vreader_t *reader, const cx_vline_t *line);

/* A name of a member without control characters, owned by ctx. */
char *cx_vname_plain(TALLOC_CTX *ctx, const char *name);

/* Puts a name to a set (String[Boolean]) of an object. */
void cx_vset_add(cx_json_t *object, const char *set, const char *name);

/* The label of the line's group without Apple's marks, or NULL. */
const char *cx_vline_label(const cx_vreader_t *reader, const cx_vline_t *line);

/* A translation of the card's name is put where it belongs, and true
 * returned. */
bool cx_vname_translated(cx_vreader_t *reader, const cx_vline_t *line,
                         cx_json_t **name);

/* A time of RFC 6350, 4.3, or RFC 3339 as RFC 9553 has it.  false: it is no
 * full time. */
bool cx_vtime_read(const char *text, char *out, size_t room);

#endif
