/*
 * Fonts and words of the drawn thumbnail: which fonts, what of a text can be
 * shown, how it is read, what stands for a name where there is no photo.
 */

#ifndef CX_PICTURE_TEXT_H
#define CX_PICTURE_TEXT_H

#include <pango/pangocairo.h>
#include <talloc.h>

typedef enum {
    CX_WEIGHT_REGULAR,
    CX_WEIGHT_BOLD
} cx_weight_t;

/* Loads the fonts, in the parent, and gives their files to the sandbox.  The
 * threads that pango does this with have ended when it returns.  -1: there is
 * no font, or no memory. */
int cx_text_init(void);

/* What of a text of a stranger is shown: one line of characters that the
 * fonts have, without controls, composed, and of a length that can be laid
 * out.  Never NULL but for lack of memory. */
char *cx_text_clean(TALLOC_CTX *ctx, const char *bytes, size_t len);

/* Whether it is read from right to left, going by its first letter. */
int cx_text_is_rtl(const char *text);

/* Initials, or the family name of one written in Chinese, Japanese or Korean;
 * empty if there is no letter.  `name` is clean. */
char *cx_text_monogram(TALLOC_CTX *ctx, const char *name);

/* A layout in `size` pixels, wrapped at `width` pixels, cut with an ellipsis
 * after `lines` lines.  The fonts are those of the language that all the
 * card's words together seem to be in: see cx_text_language(). */
PangoLayout *cx_text_layout(cairo_t *cr, const char *text, cx_weight_t weight,
                            int size, int width, int lines);

/* Chooses between the Chinese, Japanese and Korean forms of one and the same
 * character, from the letters found in `text`. */
void cx_text_language(const char *text);

#endif
