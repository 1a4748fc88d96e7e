/* Phone numbers, by libphonenumber. */

#ifndef CX_PHONE_H
#define CX_PHONE_H

#ifdef __cplusplus
extern "C" {
#endif

#define CX_PHONE_SIZE 20      /* E.164: +, at most 15 digits, NUL, to spare */
#define CX_PHONE_READ_SIZE 48 /* the same with blanks */

/* Brings a number as people write it into E.164.  region (ISO 3166-1, upper
 * case) is for numbers without a country code.  What is not possible (too
 * short, too long, no such country code) is refused with -1; what is only not
 * known to be valid passes, since tables of valid numbers age. */
int cx_phone_normalise(const char *text, const char *region,
                       char out[CX_PHONE_SIZE]);

/* The region of a number in E.164, two capital letters; -1: it has none. */
int cx_phone_region(const char *e164, char out[3]);

/* A number in E.164 as people read it internationally: +86 138 0013 8000. */
int cx_phone_international(const char *e164, char out[CX_PHONE_READ_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
