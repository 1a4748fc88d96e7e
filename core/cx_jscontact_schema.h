/*
 * The types of RFC 9553 as tables: what cx_jscontact_check() goes by.
 */

#ifndef CX_JSCONTACT_SCHEMA_H
#define CX_JSCONTACT_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>

/* What a property is made of. */
typedef enum {
    CX_STRING,
    CX_BOOLEAN,
    CX_UNSIGNED,
    CX_PREFERENCE, /* 1 to 100 */
    CX_MONTH,
    CX_DAY,
    CX_ID,       /* RFC 9553, 1.4.1 */
    CX_UTC,      /* 1.4.5 */
    CX_SET,      /* String[Boolean], each true */
    CX_STRINGS,  /* String[String] */
    CX_OBJECT,   /* of a class */
    CX_LIST,     /* array of objects of a class */
    CX_ITEMS,    /* Id[object of a class] */
    CX_NAMED,    /* String[object of a class] */
    CX_DATE,     /* PartialDate or Timestamp */
    CX_PATCHES,  /* String[PatchObject] */
    CX_JCARD,    /* RFC 9555, 2.2.2 */
    CX_ANYTHING, /* an object of any kind */
    CX_END
} cx_kind_t;

typedef struct cx_class_s cx_class_t;

typedef struct {
    const char *name;
    cx_kind_t kind;
    const cx_class_t *class;
    bool required;
} cx_property_t;

struct cx_class_s {
    const char *name;
    const cx_property_t *properties;
    const char *one_of[6]; /* at least one of these must be there */
};

/* RFC 9553, 1.4.1. */
bool cx_jscontact_is_id(const char *text);

extern const cx_class_t cx_card_class;
extern const cx_class_t cx_timestamp_class;
extern const cx_class_t cx_partial_date_class;

#endif
