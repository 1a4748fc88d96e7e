/*
 * What the fuzzers share.  Each is a libFuzzer target for one family of
 * readers; ci/fuzz builds and runs them.  Input is copied to memory of its
 * exact size, so that a byte too far is seen.
 */

#ifndef CX_FUZZ_H
#define CX_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input. */
#define HOLDS(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            abort();                                                           \
        }                                                                      \
    } while (0)

#define FUZZ_ID_KEY                                                            \
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"


/* A copy of exactly these bytes, to be freed. */
static inline char *
fuzz_copy(const uint8_t *data, size_t size)
{
    char *copy;

    copy = calloc(1, size > 0 ? size : 1);
    HOLDS(copy != NULL);

    if (size > 0) {
        memcpy(copy, data, size);
    }

    return copy;
}


/* Whether [part, part + len) stands within [whole, whole + size]. */
static inline bool
fuzz_within(const char *part, size_t len, const char *whole, size_t size)
{
    return part >= whole && len <= size
           && (size_t) (part - whole) <= size - len;
}


#endif
