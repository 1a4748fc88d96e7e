/*
 * If-None-Match, and If-Match, where a weak tag is as good (RFC 9110, 13.1).
 */

#ifndef CX_ETAG_H
#define CX_ETAG_H

#include <stddef.h>

/* 1 if one of the entity tags in the header's value is `etag` by the weak
 * comparison (8.8.3.2), or the value is "*"; else 0.  `etag` is quoted, and
 * may be weak.  What follows a malformed member is not looked at. */
int cx_etag_match(const char *value, size_t len, const char *etag,
                  size_t etag_len);

#endif
