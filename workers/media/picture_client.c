/*
 * The client side of the picture process, for the workers.  What comes back
 * was made by a process that has just read bytes of a stranger, so it is
 * checked here once more: sizes, formats, and no text is taken from it.
 */

#include "clock.h"
#include "media/picture.h"
#include "media/picture_frame.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define AWAY_TEXT "Pictures can't be handled at the moment."
#define ANSWER_MAX (CX_PICTURE_BYTES_MAX + CX_VCARD_PHOTO_MAX + 64)
#define RETRY_MS 20


/* -1: nobody there.  A full backlog is waited for, since on a unix socket
 * connect() does not: it says EAGAIN. */
static int
connect_to(const char *path, int64_t deadline)
{
    int fd;
    size_t len;
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    len = strlen(path);

    if (len >= sizeof(sun.sun_path)) {
        return -1;
    }

    memcpy(sun.sun_path, path, len + 1);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return -1;
    }

    while (connect(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1) {
        if ((errno != EAGAIN && errno != EINTR)
            || cx_monotonic_ms() + RETRY_MS >= deadline) {
            close(fd);
            return -1;
        }

        (void) poll(NULL, 0, RETRY_MS);
    }

    return fd;
}


/* One request, one answer.  The answer's parts belong to ctx. */
static cx_picture_rc_t
ask(TALLOC_CTX *ctx, const char *path, const cx_frame_t *request,
    cx_frame_t *answer, const char **why)
{
    int fd;
    int64_t deadline;
    cx_frame_rc_t rc;

    *why = AWAY_TEXT;
    deadline = cx_monotonic_ms() + CX_PICTURE_TIMEOUT * 1000;

    fd = connect_to(path, deadline);
    if (fd == -1) {
        return CX_PICTURE_AWAY;
    }

    /* Who was refused early, or whose process was killed, finds the answer
     * although not all of the request could be written. */
    rc = cx_frame_write(fd, request, deadline);
    if (rc == CX_FRAME_OK || rc == CX_FRAME_CLOSED) {
        rc = cx_frame_read(ctx, fd, ANSWER_MAX, deadline, answer);
    }

    close(fd);

    if (rc != CX_FRAME_OK) {
        return CX_PICTURE_AWAY;
    }

    if (answer->kind == CX_FRAME_DONE) {
        *why = NULL;
        return CX_PICTURE_OK;
    }

    if (answer->kind != CX_FRAME_REFUSED || answer->count != 1
        || answer->parts[0].len != 1
        || answer->parts[0].bytes[0] == CX_REASON_SANDBOX) {
        return CX_PICTURE_AWAY;
    }

    *why = cx_reason_text(answer->parts[0].bytes[0]);

    return CX_PICTURE_REFUSED;
}


/* A DONE that is not what was asked for: the process was taken over. */
static cx_picture_rc_t
suspicious(const char **why)
{
    *why = cx_reason_text(CX_REASON_KILLED);

    return CX_PICTURE_REFUSED;
}


/* What would be refused anyway is not sent. */
static int
refused_here(const unsigned char *bytes, size_t len, const char **why)
{
    if (len > CX_PICTURE_BYTES_MAX) {
        *why = cx_reason_text(CX_REASON_BYTES);
        return 1;
    }

    if (cx_format_of(bytes, len) == CX_FORMAT_NONE) {
        *why = cx_reason_text(CX_REASON_FORMAT);
        return 1;
    }

    return 0;
}


static cx_picture_rc_t
one_webp(TALLOC_CTX *ctx, const char *path, const cx_frame_t *request,
         cx_blob_t *webp, const char **why)
{
    cx_frame_t answer;
    cx_picture_rc_t rc;

    rc = ask(ctx, path, request, &answer, why);
    if (rc != CX_PICTURE_OK) {
        return rc;
    }

    if (answer.count != 1 || answer.parts[0].len > CX_THUMBNAIL_BYTES_MAX
        || cx_format_of(answer.parts[0].bytes, answer.parts[0].len)
               != CX_FORMAT_WEBP) {
        return suspicious(why);
    }

    *webp = answer.parts[0];

    return CX_PICTURE_OK;
}


/* The two sides, 16 bits each. */
static void
read_sizes(const unsigned char *p, cx_picture_t *picture)
{
    picture->width = p[0] << 8 | p[1];
    picture->height = p[2] << 8 | p[3];
}


cx_picture_rc_t
cx_picture_normalise(TALLOC_CTX *ctx, const char *socket_path,
                     const unsigned char *bytes, size_t len,
                     cx_picture_t *picture, const char **why)
{
    cx_frame_t request, answer;
    cx_format_t format;
    cx_picture_rc_t rc;
    static const char *const types[] = {
        [CX_FORMAT_JPEG] = "image/jpeg",
        [CX_FORMAT_PNG] = "image/png",
        [CX_FORMAT_WEBP] = "image/webp",
    };

    memset(picture, 0, sizeof(*picture));

    if (refused_here(bytes, len, why)) {
        return CX_PICTURE_REFUSED;
    }

    request = (cx_frame_t){ .kind = CX_FRAME_NORMALISE, .count = 1 };
    request.parts[0] = (cx_blob_t){ (unsigned char *) bytes, len };

    rc = ask(ctx, socket_path, &request, &answer, why);
    if (rc != CX_PICTURE_OK) {
        return rc;
    }

    if (answer.count != 3 || answer.parts[0].len != 4) {
        return suspicious(why);
    }

    read_sizes(answer.parts[0].bytes, picture);
    picture->picture = answer.parts[1];
    picture->vcard = answer.parts[2];
    format = cx_format_of(picture->picture.bytes, picture->picture.len);

    if (picture->width < 1 || picture->width > CX_PICTURE_SIDE_MAX
        || picture->height < 1 || picture->height > CX_PICTURE_SIDE_MAX
        || format == CX_FORMAT_NONE || format == CX_FORMAT_HEIF
        || picture->picture.len > CX_PICTURE_BYTES_MAX
        || picture->vcard.len > CX_VCARD_PHOTO_MAX
        || cx_format_of(picture->vcard.bytes, picture->vcard.len)
               != CX_FORMAT_JPEG) {
        return suspicious(why);
    }

    picture->type = talloc_strdup(ctx, types[format]);

    return picture->type != NULL ? CX_PICTURE_OK : CX_PICTURE_AWAY;
}


/* A text as a part; what is too long is cut between two characters. */
static cx_blob_t
text_part(const char *text)
{
    size_t len;

    if (text == NULL) {
        return (cx_blob_t){ NULL, 0 };
    }

    len = strnlen(text, CX_PICTURE_TEXT_MAX + 1);

    if (len > CX_PICTURE_TEXT_MAX) {
        len = CX_PICTURE_TEXT_MAX;

        while (len > 0 && ((unsigned char) text[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    return (cx_blob_t){ (unsigned char *) text, len };
}


cx_picture_rc_t
cx_picture_draw(TALLOC_CTX *ctx, const char *socket_path,
                const cx_thumbnail_t *card, cx_blob_t *webp, const char **why)
{
    cx_frame_t request = { .kind = CX_FRAME_DRAW, .count = 5 };

    *webp = (cx_blob_t){ NULL, 0 };

    if (card->photo.len > CX_PICTURE_BYTES_MAX
        || card->logo.len > CX_PICTURE_BYTES_MAX) {
        *why = cx_reason_text(CX_REASON_BYTES);
        return CX_PICTURE_REFUSED;
    }

    request.parts[0] = text_part(card->name);
    request.parts[1] = text_part(card->title);
    request.parts[2] = text_part(card->organisation);
    request.parts[3] = card->photo;
    request.parts[4] = card->logo;

    return one_webp(ctx, socket_path, &request, webp, why);
}


cx_picture_rc_t
cx_picture_thumbnail(TALLOC_CTX *ctx, const char *socket_path,
                     const unsigned char *bytes, size_t len, cx_blob_t *webp,
                     const char **why)
{
    cx_frame_t request = { .kind = CX_FRAME_THUMBNAIL, .count = 1 };

    *webp = (cx_blob_t){ NULL, 0 };

    if (refused_here(bytes, len, why)) {
        return CX_PICTURE_REFUSED;
    }

    request.parts[0] = (cx_blob_t){ (unsigned char *) bytes, len };

    return one_webp(ctx, socket_path, &request, webp, why);
}
