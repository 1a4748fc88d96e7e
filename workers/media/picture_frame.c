#include "media/picture_frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"

#define HEAD_LEN 8
#define LENGTHS_LEN (4 * CX_FRAME_PARTS_MAX)


static const char frame_magic[4] = { 'c', 'x', 'p', '1' };

static const char *const reason_texts[CX_REASON_END] = {
    [CX_REASON_NONE] = "Nothing is wrong.",
    [CX_REASON_FORMAT] = "This is not a picture that can be used: JPEG, PNG, "
                         "WebP, HEIC and AVIF can.",
    [CX_REASON_BROKEN] = "The picture is damaged or cut off.",
    [CX_REASON_PIXELS] = "The picture has more than 60 megapixels.",
    [CX_REASON_BYTES] = "The picture is larger than 5 MiB.",
    [CX_REASON_SHAPE] = "One side of the picture is more than a hundred times "
                        "as long as the other.",
    [CX_REASON_KILLED] = "The picture could not be read safely.",
    [CX_REASON_REQUEST] = "The request was not understood.",
    [CX_REASON_SANDBOX] = "Pictures can't be read safely at the moment.",
    [CX_REASON_LEFT] = "The client left.",
};


/* Waits for `events`; 0 when there is something, -1 at the deadline. */
static int
wait_for(int fd, short events, int64_t deadline)
{
    int n;
    int64_t left;
    struct pollfd pfd = { .fd = fd, .events = events };

    do {
        left = deadline - cx_monotonic_ms();

        if (left <= 0) {
            return -1;
        }

        n = poll(&pfd, 1, (int) left);
    } while (n == -1 && errno == EINTR);

    return n > 0 ? 0 : -1;
}


static cx_frame_rc_t
read_all(int fd, unsigned char *p, size_t len, int64_t deadline)
{
    ssize_t n;

    while (len > 0) {
        n = recv(fd, p, len, 0);

        if (n > 0) {
            p += n;
            len -= (size_t) n;
            continue;
        }

        if (n == 0) {
            return CX_FRAME_CLOSED;
        }

        if (errno == EINTR) {
            continue;
        }

        if (errno != EAGAIN) {
            return CX_FRAME_CLOSED;
        }

        if (wait_for(fd, POLLIN, deadline) == -1) {
            return CX_FRAME_TIMEOUT;
        }
    }

    return CX_FRAME_OK;
}


static cx_frame_rc_t
write_all(int fd, const unsigned char *p, size_t len, int64_t deadline)
{
    ssize_t n;

    while (len > 0) {
        n = send(fd, p, len, MSG_NOSIGNAL);

        if (n >= 0) {
            p += n;
            len -= (size_t) n;
            continue;
        }

        if (errno == EINTR) {
            continue;
        }

        if (errno != EAGAIN) {
            return CX_FRAME_CLOSED;
        }

        if (wait_for(fd, POLLOUT, deadline) == -1) {
            return CX_FRAME_TIMEOUT;
        }
    }

    return CX_FRAME_OK;
}


/* Reads the lengths of the parts into the frame and checks their sum. */
static cx_frame_rc_t
read_lengths(int fd, size_t most, int64_t deadline, cx_frame_t *frame)
{
    size_t sum = 0;
    unsigned i;
    const unsigned char *p;
    unsigned char lengths[LENGTHS_LEN];
    cx_frame_rc_t rc;

    rc = read_all(fd, lengths, 4 * (size_t) frame->count, deadline);
    if (rc != CX_FRAME_OK) {
        return rc;
    }

    for (i = 0; i < frame->count; i++) {
        p = &lengths[4 * i];

        frame->parts[i].len = (size_t) p[0] << 24 | (size_t) p[1] << 16
                              | (size_t) p[2] << 8 | p[3];
        sum += frame->parts[i].len;
    }

    return sum <= most ? CX_FRAME_OK : CX_FRAME_BAD;
}


cx_frame_rc_t
cx_frame_read(TALLOC_CTX *ctx, int fd, size_t most, int64_t deadline,
              cx_frame_t *frame)
{
    unsigned i;
    cx_blob_t *part;
    cx_frame_rc_t rc;
    unsigned char head[HEAD_LEN];

    memset(frame, 0, sizeof(*frame));

    rc = read_all(fd, head, sizeof(head), deadline);
    if (rc != CX_FRAME_OK) {
        return rc;
    }

    if (memcmp(head, frame_magic, sizeof(frame_magic)) != 0
        || head[5] > CX_FRAME_PARTS_MAX || head[6] != 0 || head[7] != 0) {
        return CX_FRAME_BAD;
    }

    frame->kind = (cx_frame_kind_t) head[4];
    frame->count = head[5];

    rc = read_lengths(fd, most, deadline, frame);

    for (i = 0; rc == CX_FRAME_OK && i < frame->count; i++) {
        part = &frame->parts[i];
        part->bytes = talloc_size(ctx, part->len + 1);

        if (part->bytes == NULL) {
            return CX_FRAME_BAD;
        }

        part->bytes[part->len] = '\0';
        rc = read_all(fd, part->bytes, part->len, deadline);
    }

    return rc;
}


cx_frame_rc_t
cx_frame_write(int fd, const cx_frame_t *frame, int64_t deadline)
{
    unsigned i;
    unsigned char *p;
    cx_frame_rc_t rc;
    unsigned char head[HEAD_LEN + LENGTHS_LEN] = { 0 };

    memcpy(head, frame_magic, sizeof(frame_magic));
    head[4] = (unsigned char) frame->kind;
    head[5] = (unsigned char) frame->count;

    for (i = 0; i < frame->count; i++) {
        p = &head[HEAD_LEN + 4 * i];

        p[0] = (unsigned char) (frame->parts[i].len >> 24);
        p[1] = (unsigned char) (frame->parts[i].len >> 16);
        p[2] = (unsigned char) (frame->parts[i].len >> 8);
        p[3] = (unsigned char) frame->parts[i].len;
    }

    rc = write_all(fd, head, HEAD_LEN + 4 * (size_t) frame->count, deadline);

    for (i = 0; rc == CX_FRAME_OK && i < frame->count; i++) {
        rc =
            write_all(fd, frame->parts[i].bytes, frame->parts[i].len, deadline);
    }

    return rc;
}


const char *
cx_reason_text(unsigned reason)
{
    if (reason == CX_REASON_NONE || reason >= CX_REASON_END) {
        reason = CX_REASON_KILLED;
    }

    return reason_texts[reason];
}


/* HEIF, ISO/IEC 23008-12, and AVIF: a `ftyp` box whose major or compatible
 * brands say still picture. */
static int
is_heif(const unsigned char *p, size_t len)
{
    size_t box, at, i;
    static const char brands[][5] = { "heic", "heix", "heim",
                                      "heis", "mif1", "avif" };

    if (len < 16 || memcmp(p + 4, "ftyp", 4) != 0) {
        return 0;
    }

    box = (size_t) p[0] << 24 | (size_t) p[1] << 16 | (size_t) p[2] << 8 | p[3];

    for (at = 8; at + 4 <= box && at + 4 <= len && at < 128; at += 4) {
        for (i = 0; i < sizeof(brands) / sizeof(brands[0]); i++) {
            if (memcmp(p + at, brands[i], 4) == 0) {
                return 1;
            }
        }
    }

    return 0;
}


cx_format_t
cx_format_of(const unsigned char *p, size_t len)
{
    if (len > 3 && memcmp(p, "\xff\xd8\xff", 3) == 0) {
        return CX_FORMAT_JPEG;
    }

    if (len > 8 && memcmp(p, "\x89PNG\r\n\x1a\n", 8) == 0) {
        return CX_FORMAT_PNG;
    }

    if (len > 12 && memcmp(p, "RIFF", 4) == 0
        && memcmp(p + 8, "WEBP", 4) == 0) {
        return CX_FORMAT_WEBP;
    }

    return is_heif(p, len) ? CX_FORMAT_HEIF : CX_FORMAT_NONE;
}
