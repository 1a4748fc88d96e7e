/*
 * What the pages say, in each language they can.
 */

#ifndef CX_PAGE_TEXT_H
#define CX_PAGE_TEXT_H

typedef enum {
    CX_SAY_SAVE,
    CX_SAY_SAVE_HINT,
    CX_SAY_REACH,
    CX_SAY_CALL,
    CX_SAY_TEXT,
    CX_SAY_MAIL,
    CX_SAY_MAP,
    CX_SAY_WEB,
    CX_SAY_PHONES,
    CX_SAY_ONLINE,
    CX_SAY_ADDRESSES,
    CX_SAY_ABOUT,
    CX_SAY_LISTEN,
    CX_SAY_WATCH,
    CX_SAY_WORK,
    CX_SAY_PRIVATE,
    CX_SAY_BILLING,
    CX_SAY_DELIVERY,
    CX_SAY_PHONE,
    CX_SAY_MOBILE,
    CX_SAY_FAX,
    CX_SAY_PAGER,
    CX_SAY_TEXTPHONE,
    CX_SAY_VIDEO,
    CX_SAY_MAIN_NUMBER,
    CX_SAY_EMAIL,
    CX_SAY_PROFILE,
    CX_SAY_WEBSITE,
    CX_SAY_ADDRESS,
    CX_SAY_BIRTHDAY,
    CX_SAY_WEDDING,
    CX_SAY_DEATH,
    CX_SAY_ANNIVERSARY,
    CX_SAY_NOTE,
    CX_SAY_LANGUAGES,
    CX_SAY_EXPERTISE,
    CX_SAY_HOBBY,
    CX_SAY_INTEREST,
    CX_SAY_KEYWORDS,
    CX_SAY_PHOTO_OF,
    CX_SAY_LOGO_OF,
    CX_SAY_NOBODY,
    CX_SAY_FOOT,
    CX_SAY_REFUSED_TITLE,
    CX_SAY_REFUSED,
    CX_SAY_REFUSED_WHAT,
    CX_SAY_N
} cx_say_t;

/* The value of `lang` for what the pages themselves say. */
const char *cx_page_language_tag(const char *language);

const char *cx_say(const char *language, cx_say_t what);

#endif
