/*
 * The picture client as a command, for t/picture.t.
 *
 *     picture_try normalise <socket> <in> <picture out> <vcard out>
 *     picture_try thumbnail <socket> <in> <out>
 *     picture_try draw <socket> <out> <name> <title> <organisation>
 *                      [<photo> [<logo>]]
 *     picture_try sandbox <font> <what>
 *
 * Prints "ok <type> <width> <height>", "ok <bytes>", "refused <why>" or
 * "away <why>".  `sandbox` shuts itself in and tries what it is told to.
 */

#include "media/picture.h"
#include "media/picture_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>


static cx_blob_t
read_file(TALLOC_CTX *ctx, const char *path)
{
    FILE *f;
    cx_blob_t blob = { NULL, 0 };
    const size_t most = CX_PICTURE_BYTES_MAX + 1;

    if (path == NULL || path[0] == '\0') {
        return blob;
    }

    f = fopen(path, "rb");
    if (f == NULL) {
        perror(path);
        exit(2);
    }

    blob.bytes = talloc_size(ctx, most);
    blob.len = fread(blob.bytes, 1, most, f);
    fclose(f);

    return blob;
}


static void
write_file(const char *path, const cx_blob_t *blob)
{
    FILE *f;

    f = fopen(path, "wb");

    if (f == NULL || fwrite(blob->bytes, 1, blob->len, f) != blob->len
        || fclose(f) != 0) {
        perror(path);
        exit(2);
    }
}


static int
report(cx_picture_rc_t rc, const char *why)
{
    if (rc == CX_PICTURE_OK) {
        return 0;
    }

    printf("%s %s\n", rc == CX_PICTURE_REFUSED ? "refused" : "away", why);

    return 1;
}


static int
normalise(TALLOC_CTX *ctx, char **argv)
{
    cx_blob_t in;
    const char *why;
    cx_picture_t picture;
    cx_picture_rc_t rc;

    in = read_file(ctx, argv[1]);
    rc = cx_picture_normalise(ctx, argv[0], in.bytes, in.len, &picture, &why);

    if (rc == CX_PICTURE_OK) {
        printf("ok %s %d %d\n", picture.type, picture.width, picture.height);
        write_file(argv[2], &picture.picture);
        write_file(argv[3], &picture.vcard);
    }

    return report(rc, why);
}


static int
thumbnail(TALLOC_CTX *ctx, char **argv)
{
    cx_blob_t in, webp;
    const char *why;
    cx_picture_rc_t rc;

    in = read_file(ctx, argv[1]);
    rc = cx_picture_thumbnail(ctx, argv[0], in.bytes, in.len, &webp, &why);

    if (rc == CX_PICTURE_OK) {
        printf("ok %zu\n", webp.len);
        write_file(argv[2], &webp);
    }

    return report(rc, why);
}


static int
draw(TALLOC_CTX *ctx, int argc, char **argv)
{
    cx_blob_t webp;
    const char *why;
    cx_thumbnail_t card;
    cx_picture_rc_t rc;

    card.name = argv[2];
    card.title = argv[3];
    card.organisation = argv[4];
    card.photo = read_file(ctx, argc > 5 ? argv[5] : NULL);
    card.logo = read_file(ctx, argc > 6 ? argv[6] : NULL);

    rc = cx_picture_draw(ctx, argv[0], &card, &webp, &why);

    if (rc == CX_PICTURE_OK) {
        printf("ok %zu\n", webp.len);
        write_file(argv[1], &webp);
    }

    return report(rc, why);
}


/* Exit status 0: it was possible; 1: refused; by signal: killed for it. */
static int
try_in_sandbox(const char *font, const char *what)
{
    int fd = -1;
    int pair[2];
    char *args[] = { NULL };
    void *p;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == -1
        || cx_sandbox_keep(font) == -1 || cx_sandbox_init() == -1
        || cx_sandbox_enter(pair[0]) == -1) {
        return 3;
    }

    if (strcmp(what, "font") == 0) {
        fd = open(font, O_RDONLY);

    } else if (strcmp(what, "open") == 0) {
        fd = open("/etc/passwd", O_RDONLY);

    } else if (strcmp(what, "socket") == 0) {
        fd = socket(AF_INET, SOCK_STREAM, 0);

    } else if (strcmp(what, "fork") == 0) {
        fd = fork();

    } else if (strcmp(what, "exec") == 0) {
        fd = execve("/bin/true", args, args);

    } else if (strcmp(what, "kill") == 0) {
        fd = kill(getppid(), 0);

    } else if (strcmp(what, "code") == 0) {
        p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                 -1, 0);
        fd = p == MAP_FAILED ? -1 : 0;

    } else if (strcmp(what, "memory") == 0) {
        p = mmap(NULL, 1UL << 30, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        fd = p == MAP_FAILED ? -1 : 0;
    }

    return fd == -1;
}


int
main(int argc, char **argv)
{
    int status = 2;
    TALLOC_CTX *ctx;

    if (argc == 4 && strcmp(argv[1], "sandbox") == 0) {
        _exit(try_in_sandbox(argv[2], argv[3]));
    }

    ctx = talloc_new(NULL);

    if (argc == 6 && strcmp(argv[1], "normalise") == 0) {
        status = normalise(ctx, argv + 2);

    } else if (argc == 5 && strcmp(argv[1], "thumbnail") == 0) {
        status = thumbnail(ctx, argv + 2);

    } else if (argc >= 7 && strcmp(argv[1], "draw") == 0) {
        status = draw(ctx, argc - 2, argv + 2);

    } else {
        fprintf(stderr, "see the head of picture_try.c\n");
    }

    talloc_free(ctx);

    return status;
}
