/*
 * A name that somebody gives themselves and others go by: a nickname, the
 * name of a terminal that wants to be let in.
 */

#ifndef CX_LINE_H
#define CX_LINE_H

#include <stdbool.h>

/* Whether a code point is a control character, or another one that is not
 * seen, as what turns the direction; but for joiners and selectors. */
bool cx_char_hidden(unsigned c);

/* Whether a text (UTF-8) is one line and shows all that is in it: no control
 * characters, no line ends, nothing that turns the direction of what follows,
 * none of the other characters that are not seen, which RFC 8266 keeps out of
 * nicknames (RFC 8264, 9.12 and 9.13).  Joiners and selectors, which are not
 * seen either, may stand where scripts and emoji need them. */
bool cx_line_shows(const char *text);

#endif
