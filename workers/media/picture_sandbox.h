/*
 * What a child of the picture process gives up before it reads the first byte
 * of a request: memory and time without bound, all file descriptors but its
 * connection, and every system call that is not needed to compute.
 *
 * Fonts are the one kind of file that is still wanted then, since FreeType
 * opens them when they are first drawn.  So they are opened before, and an
 * open() of the child, which the kernel refuses, is answered with a duplicate
 * of the descriptor that is already there.
 */

#ifndef CX_PICTURE_SANDBOX_H
#define CX_PICTURE_SANDBOX_H

#define CX_SANDBOX_FILES_MAX 400
#define CX_SANDBOX_CPU 10 /* seconds */

/* Built with AddressSanitizer, whose shadow needs terabytes of addresses and
 * whose reports need more calls. */
#if defined(__SANITIZE_ADDRESS__)
#define CX_SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CX_SANDBOX_SANITIZED 1
#endif
#endif
#ifndef CX_SANDBOX_SANITIZED
#define CX_SANDBOX_SANITIZED 0
#endif

/* Opens a file for the children, once for any number of calls.  0, or -1 if it
 * can't be opened or there are too many. */
int cx_sandbox_keep(const char *path);

/* Makes the filter ready, in the parent.  -1: no memory, or an unknown CPU. */
int cx_sandbox_init(void);

/* Shuts the calling process in; `fd`, its connection, becomes descriptor 0.
 * -1: something could not be given up, and nothing may be read. */
int cx_sandbox_enter(int fd);

#endif
