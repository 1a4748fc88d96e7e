/*
 * Lines of a vCard being written: parameters, escaping, folding.  Shared by
 * the cx_vcard_write*.c files.
 */

#ifndef CX_VCARD_LINE_H
#define CX_VCARD_LINE_H

#include "cx_buf.h"
#include "cx_vcard.h"

/* What cardx signs with; reading drops it. */
#define CX_VCARD_PRODUCT "-//cardx//cardx//EN"

typedef struct {
    TALLOC_CTX *ctx; /* for what lives as long as the writing */
    cx_vcard_version_t version;
    bool brief; /* for the offline code: no folding, only the necessary */
    cx_buf_t out;
    cx_buf_t line;     /* the one being made, not folded yet */
    unsigned groups;   /* drawn so far: item1, item2, ... */
    const char *label; /* for the group of the line being made, or NULL */
    char group[24];
    const char *language; /* of a localized property, or NULL */
    unsigned alt_id;      /* joins it with the one it translates; 0: none */
    const cx_json_t *localized; /* "titles/t1" -> alt_id, or NULL */
    const cx_json_t *kept;      /* vCardProps, whose groups are taken */
} cx_vcard_writer_t;

void cx_vcard_writer_init(cx_vcard_writer_t *writer, TALLOC_CTX *ctx,
                          cx_vcard_version_t version);

/* Starts a line; group may be NULL. */
void cx_vline_begin(cx_vcard_writer_t *writer, const char *group,
                    const char *name);

/* Draws the next group's name into writer->group. */
const char *cx_vline_group(cx_vcard_writer_t *writer);

/* A parameter; the value is quoted and encoded (RFC 6868) as it needs. */
void cx_vline_param(cx_vcard_writer_t *writer, const char *name,
                    const char *value);

/* Starts the value. */
void cx_vline_value(cx_vcard_writer_t *writer);

/* Appends to the value: escaped as text, as it is but without control
 * characters, as an address, or one separator.  In an address a control
 * character is percent-encoded: without it "java<tab>script:" would be one
 * that runs. */
void cx_vline_text(cx_vcard_writer_t *writer, const char *text);
void cx_vline_raw(cx_vcard_writer_t *writer, const char *text);
void cx_vline_uri(cx_vcard_writer_t *writer, const char *uri);
void cx_vline_char(cx_vcard_writer_t *writer, char c);

/* Folds the line and puts it out, and a label for its group if one waits. */
void cx_vline_end(cx_vcard_writer_t *writer);

/* Whole lines without parameters, of a text and of a raw value. */
void cx_vline_text_line(cx_vcard_writer_t *writer, const char *name,
                        const char *text);
void cx_vline_raw_line(cx_vcard_writer_t *writer, const char *name,
                       const char *value);

/* Escapes text for a value (RFC 6350, 3.4). */
void cx_vcard_escape(cx_buf_t *buf, const char *text);

/* Whether a name can be that of a property or parameter. */
bool cx_vcard_is_name(const char *name);

/* "2024-05-31T10:00:00Z" as "20240531T100000Z".  false: it is not one. */
bool cx_vcard_basic_time(const char *text, char *out, size_t room);

/* The parts of writing; each skips what the card has not. */
void cx_vcard_write_name(cx_vcard_writer_t *writer, const cx_json_t *card);
void cx_vcard_write_address(cx_vcard_writer_t *writer, const cx_json_t *item);
void cx_vcard_write_items(cx_vcard_writer_t *writer, const cx_json_t *card);
void cx_vcard_write_medium(cx_vcard_writer_t *writer,
                           const cx_vcard_media_t *medium);
void cx_vcard_write_rest(cx_vcard_writer_t *writer, const cx_json_t *card);

/* Starts the line of an item: group and label, PROP-ID, TYPE, PREF, what
 * vCardParams keep.  `types` are more values of TYPE, separated by commas. */
void cx_vitem_begin(cx_vcard_writer_t *writer, const char *name,
                    const cx_json_t *item, const char *types);

/* Sets writer->alt_id for what stands at a path of the card. */
void cx_vitem_mark(cx_vcard_writer_t *writer, const char *property,
                   const char *id);

/* The writing of one item, by the name of its property; false: that property
 * is not one whose items are written alone. */
bool cx_vitem_write(cx_vcard_writer_t *writer, const char *property,
                    const cx_json_t *item);

#endif
