/* What the picture process and its clients say to each other, and what a
 * picture is (picture_frame.h). */

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "fuzz.h"
#include "media/picture_frame.h"

#define MOST 65536


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    char *copy;
    size_t total;
    unsigned i;
    cx_frame_t frame;
    TALLOC_CTX *ctx;
    cx_frame_rc_t rc;

    copy = fuzz_copy(data, size);
    HOLDS((unsigned) cx_format_of((const unsigned char *) copy, size)
          <= CX_FORMAT_HEIF);
    free(copy);

    if (size > MOST) {
        return 0;
    }

    HOLDS(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    HOLDS(size == 0 || write(fds[1], data, size) == (ssize_t) size);
    HOLDS(shutdown(fds[1], SHUT_WR) == 0);
    HOLDS(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);

    ctx = talloc_new(NULL);
    memset(&frame, 0, sizeof(frame));
    rc = cx_frame_read(ctx, fds[0], MOST, cx_monotonic_ms() + 1000, &frame);
    HOLDS(rc != CX_FRAME_TIMEOUT);

    if (rc == CX_FRAME_OK) {
        HOLDS(frame.count <= CX_FRAME_PARTS_MAX);

        for (i = 0, total = 0; i < frame.count; i++) {
            total += frame.parts[i].len;
            HOLDS(frame.parts[i].bytes[frame.parts[i].len] == '\0');
        }

        HOLDS(total + 8 + 4 * frame.count <= size);

        if (frame.kind == CX_FRAME_REFUSED && frame.count > 0
            && frame.parts[0].len > 0) {
            HOLDS(cx_reason_text(frame.parts[0].bytes[0]) != NULL);
        }
    }

    talloc_free(ctx);
    close(fds[0]);
    close(fds[1]);

    return 0;
}
