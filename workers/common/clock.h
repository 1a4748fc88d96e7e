#ifndef CX_CLOCK_H
#define CX_CLOCK_H

#include <stdint.h>

/* Milliseconds of a clock that only goes forward. */
int64_t cx_monotonic_ms(void);

#endif
