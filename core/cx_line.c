#include "cx_line.h"
#include "cx_buf.h"

#include <string.h>


#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

typedef struct {
    unsigned first, last;
} range_t;

/* Controls, and what Unicode calls Default_Ignorable, but for the ones below;
 * in order. */
static const range_t hidden[] = {
    { 0x0000, 0x001F },   /* controls */
    { 0x007F, 0x009F },   /* more of them */
    { 0x00AD, 0x00AD },   /* soft hyphen */
    { 0x034F, 0x034F },   /* grapheme joiner */
    { 0x061C, 0x061C },   /* Arabic letter mark */
    { 0x115F, 0x1160 },   /* Hangul fillers */
    { 0x17B4, 0x17B5 },   /* Khmer inherent vowels */
    { 0x200B, 0x200B },   /* zero width space */
    { 0x200E, 0x200F },   /* direction marks */
    { 0x2028, 0x202E },   /* line ends, embeddings, overrides */
    { 0x2060, 0x206F },   /* word joiner, isolates, deprecated ones */
    { 0x3164, 0x3164 },   /* Hangul filler */
    { 0xFEFF, 0xFEFF },   /* zero width no-break space */
    { 0xFFA0, 0xFFA0 },   /* Hangul filler */
    { 0xFFF0, 0xFFFB },   /* specials, annotation */
    { 0x1BCA0, 0x1BCA3 }, /* shorthand format */
    { 0x1D173, 0x1D17A }, /* musical format */
    { 0xE0000, 0xE001F }, /* tags that none uses */
    { 0xE0080, 0xE00FF }, { 0xE01F0, 0xE0FFF },
};


bool
cx_char_hidden(unsigned c)
{
    size_t i;

    for (i = 0; i < N_OF(hidden) && c >= hidden[i].first; i++) {
        if (c <= hidden[i].last) {
            return true;
        }
    }

    return false;
}


/* Between letters of Arabic, Indic and other scripts, and between emoji. */
static bool
is_joiner(unsigned c)
{
    return c == 0x200C || c == 0x200D;
}


/* Chooses the form of what stands before it: of Mongolian letters, emoji, Han
 * characters. */
static bool
is_selector(unsigned c)
{
    return (c >= 0x180B && c <= 0x180F) || (c >= 0xFE00 && c <= 0xFE0F)
           || (c >= 0xE0100 && c <= 0xE01EF);
}


/* Of the flags of England, Scotland and Wales: letters behind a black flag. */
static bool
is_tag(unsigned c)
{
    return c >= 0xE0020 && c <= 0xE007F;
}


/* Whether c may stand behind `before`; 0 is the start. */
static bool
may_follow(unsigned c, unsigned before)
{
    if (is_joiner(c)) {
        return before >= 0x600 && !is_joiner(before);
    }

    if (is_selector(c)) {
        /* a digit is made a keycap */
        return (before >= 0xA9 || (before >= '0' && before <= '9')
                || before == '#' || before == '*')
               && !is_joiner(before) && !is_selector(before);
    }

    return !is_tag(c) || before == 0x1F3F4 || is_tag(before);
}


bool
cx_line_shows(const char *text)
{
    unsigned c, before = 0;
    size_t len, left;

    for (left = strlen(text); left > 0; text += len, left -= len) {
        len = cx_utf8_length(text, left);

        if (len == 0) {
            return false;
        }

        c = cx_utf8_read(text, len);

        if (cx_char_hidden(c) || !may_follow(c, before)) {
            return false;
        }

        before = c;
    }

    return !is_joiner(before);
}
