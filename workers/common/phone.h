/* Phone numbers, by libphonenumber. */

#ifndef CX_PHONE_H
#define CX_PHONE_H

#ifdef __cplusplus
extern "C" {
#endif

#define CX_PHONE_SIZE 20 /* E.164: +, at most 15 digits, NUL, to spare */

/* Brings a number as people write it into E.164.  region (ISO 3166-1, upper
 * case) is for numbers without a country code.  What is not possible (too
 * short, too long, no such country code) is refused with -1; what is only not
 * known to be valid passes, since tables of valid numbers age. */
int cx_phone_normalise(const char *text, const char *region,
                       char out[CX_PHONE_SIZE]);

#ifdef __cplusplus
}
#endif

#endif
