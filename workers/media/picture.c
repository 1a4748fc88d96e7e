/*
 * cardx-picture: reads, cleans and draws pictures for the workers.
 *
 *     cardx-picture <socket path>
 *
 * The parent loads libvips and the fonts, accepts, and forks a child for each
 * connection; it never reads a byte of what clients send.  A child shuts itself
 * in (picture_sandbox.h), answers one request and ends.  When a child is
 * killed, by its limits, by the filter or by its picture, the parent answers
 * for it.  SIGTERM: no new connection; ends when the last child has.
 *
 * With CARDX_LISTEN_FD=3 descriptor 3 is the listening socket and the path is
 * not needed.
 */

#include "clock.h"
#include "media/picture.h"
#include "media/picture_draw.h"
#include "media/picture_frame.h"
#include "media/picture_pixels.h"
#include "media/picture_sandbox.h"
#include "media/picture_text.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>


#define CHILDREN_MAX 4
#define BACKLOG 64
#define READ_TIMEOUT 10000  /* ms, for a client to send its request */
#define WRITE_TIMEOUT 10000 /* ms, for a client to take its answer */
#define LIFETIME 20000      /* ms, of a child */
#define REQUEST_MAX (2 * CX_PICTURE_BYTES_MAX + 3 * CX_PICTURE_TEXT_MAX)

/* How a child ends tells the parent what to log. */
#define EXIT_STATUS(kind, reason) ((kind) << 4 | (reason))
#define EXIT_KIND(status) ((status) >> 4)
#define EXIT_REASON(status) ((status) &15)

_Static_assert(CX_REASON_END <= 16, "a reason fits into an exit status");


typedef struct {
    pid_t pid; /* 0: free */
    int fd;    /* the connection, kept to answer for the child */
    int left;  /* the client has closed it */
    int64_t started;
} child_t;

static child_t children[CHILDREN_MAX];
static int running;

/* Shared with the children: has this one begun to answer? */
static volatile unsigned char *answering;

static volatile sig_atomic_t terminated;

static const char *const kind_names[] = { "request", "normalise", "draw",
                                          "thumbnail" };


static void
on_signal(int signo)
{
    if (signo == SIGTERM || signo == SIGINT) {
        terminated = 1;
    }
}


static unsigned
kind_number(cx_frame_kind_t kind)
{
    switch (kind) {
    case CX_FRAME_NORMALISE:
        return 1;

    case CX_FRAME_DRAW:
        return 2;

    case CX_FRAME_THUMBNAIL:
        return 3;

    default:
        return 0;
    }
}


static cx_reason_t
do_normalise(TALLOC_CTX *ctx, const cx_frame_t *request, cx_frame_t *answer)
{
    cx_reason_t reason;
    cx_picture_t picture;
    unsigned char *sizes;

    reason = cx_pixels_normalise(ctx, &request->parts[0], &picture);
    if (reason != CX_REASON_NONE) {
        return reason;
    }

    sizes = talloc_size(ctx, 4);
    if (sizes == NULL) {
        return CX_REASON_KILLED;
    }

    sizes[0] = (unsigned char) (picture.width >> 8);
    sizes[1] = (unsigned char) picture.width;
    sizes[2] = (unsigned char) (picture.height >> 8);
    sizes[3] = (unsigned char) picture.height;

    answer->count = 3;
    answer->parts[0] = (cx_blob_t){ sizes, 4 };
    answer->parts[1] = picture.picture;
    answer->parts[2] = picture.vcard;

    return CX_REASON_NONE;
}


static cx_reason_t
do_request(TALLOC_CTX *ctx, const cx_frame_t *request, cx_frame_t *answer)
{
    const cx_blob_t *parts = request->parts;

    answer->kind = CX_FRAME_DONE;

    if (request->kind == CX_FRAME_NORMALISE && request->count == 1) {
        return do_normalise(ctx, request, answer);
    }

    answer->count = 1;

    if (request->kind == CX_FRAME_THUMBNAIL && request->count == 1) {
        return cx_pixels_thumbnail(ctx, &parts[0], &answer->parts[0]);
    }

    if (request->kind == CX_FRAME_DRAW && request->count == 5) {
        return cx_draw_card(ctx, &parts[0], &parts[1], &parts[2], &parts[3],
                            &parts[4], &answer->parts[0]);
    }

    return CX_REASON_REQUEST;
}


static cx_frame_rc_t
send_refusal(int fd, cx_reason_t reason, int64_t deadline)
{
    unsigned char byte = (unsigned char) reason;
    cx_frame_t answer = { .kind = CX_FRAME_REFUSED, .count = 1 };

    answer.parts[0] = (cx_blob_t){ &byte, 1 };

    return cx_frame_write(fd, &answer, deadline);
}


/* The whole life of a child after it is shut in; returns its exit status. */
static int
serve(volatile unsigned char *begun)
{
    unsigned kind;
    TALLOC_CTX *ctx;
    cx_frame_t request, answer;
    cx_reason_t reason;
    cx_frame_rc_t rc;

    memset(&answer, 0, sizeof(answer));
    ctx = talloc_new(NULL);
    kind = 0;
    reason = CX_REASON_REQUEST;

    rc = cx_frame_read(ctx, 0, REQUEST_MAX, cx_monotonic_ms() + READ_TIMEOUT,
                       &request);

    /* nobody asks: a look at whether we are here is no failure */
    if (rc == CX_FRAME_CLOSED) {
        return 0;
    }

    if (rc == CX_FRAME_TIMEOUT) {
        return EXIT_STATUS(kind, CX_REASON_LEFT);
    }

    if (rc == CX_FRAME_OK) {
        kind = kind_number(request.kind);
        reason = do_request(ctx, &request, &answer);
    }

    *begun = 1;

    rc = reason == CX_REASON_NONE
             ? cx_frame_write(0, &answer, cx_monotonic_ms() + WRITE_TIMEOUT)
             : send_refusal(0, reason, cx_monotonic_ms() + WRITE_TIMEOUT);

    if (rc != CX_FRAME_OK) {
        reason = CX_REASON_LEFT;
    }

    return reason == CX_REASON_NONE ? 0 : EXIT_STATUS((int) kind, (int) reason);
}


/* Never returns.  `_exit`: what the parent set up is not the child's to tear
 * down, and threads may still be there. */
static void
run_child(int fd, volatile unsigned char *begun)
{
    sigset_t none;

    /* SIGTERM may go to the whole group, and is for the parent to act on;
     * SIGALRM ends a child that nobody watches any more. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGALRM, SIG_DFL);
    alarm(LIFETIME / 1000 + 5);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    if (cx_sandbox_enter(fd) == -1) {
        (void) send_refusal(0, CX_REASON_SANDBOX,
                            cx_monotonic_ms() + WRITE_TIMEOUT);
        _exit(EXIT_STATUS(0, CX_REASON_SANDBOX));
    }

    _exit(serve(begun));
}


static void
start_child(int fd)
{
    int i;
    pid_t pid;

    for (i = 0; children[i].pid != 0; i++) {
        /* there is one, or we would not have accepted */
    }

    answering[i] = 0;

    pid = fork();

    if (pid == 0) {
        run_child(fd, &answering[i]);
    }

    if (pid == -1) {
        fprintf(stderr, "cardx-picture: fork() failed: %s\n", strerror(errno));
        (void) send_refusal(fd, CX_REASON_SANDBOX, cx_monotonic_ms() + 1000);
        close(fd);
        return;
    }

    children[i] = (child_t){ pid, fd, 0, cx_monotonic_ms() };
    running++;
}


/* Logs what went wrong, without a word about whose picture it was, and answers
 * for a child that was killed before it could. */
static void
end_child(int i, int status)
{
    int code;
    child_t *child = &children[i];

    if (WIFSIGNALED(status)) {
        if (!child->left) {
            fprintf(stderr, "cardx-picture: a child was killed by signal %d\n",
                    WTERMSIG(status));
        }

        if (!answering[i]) {
            (void) send_refusal(child->fd, CX_REASON_KILLED,
                                cx_monotonic_ms() + 1000);
        }

    } else if (WEXITSTATUS(status) != 0) {
        code = WEXITSTATUS(status);
        fprintf(stderr, "cardx-picture: %s: %s\n",
                kind_names[EXIT_KIND(code) & 3],
                cx_reason_text((unsigned) EXIT_REASON(code)));
    }

    close(child->fd);
    child->pid = 0;
    running--;
}


static void
reap(void)
{
    int i, status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        for (i = 0; i < CHILDREN_MAX; i++) {
            if (children[i].pid == pid) {
                end_child(i, status);
            }
        }
    }
}


/* Kills the children that nobody waits for, and those that take too long.
 * Returns the milliseconds until the next one may, or -1. */
static int
watch(const struct pollfd *polled)
{
    int i, next = -1;
    int64_t left;

    for (i = 0; i < CHILDREN_MAX; i++) {
        if (children[i].pid == 0) {
            continue;
        }

        if (polled != NULL && polled[i].fd == children[i].fd
            && (polled[i].revents & (POLLHUP | POLLERR))) {
            children[i].left = 1;
            kill(children[i].pid, SIGKILL);
        }

        left = children[i].started + LIFETIME - cx_monotonic_ms();

        if (left <= 0) {
            kill(children[i].pid, SIGKILL);
            left = 1000;
        }

        if (next == -1 || left < next) {
            next = (int) left;
        }
    }

    return next;
}


static void
accept_one(int listener)
{
    int fd;

    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        start_child(fd);

    } else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
        fprintf(stderr, "cardx-picture: accept() failed: %s\n",
                strerror(errno));
        (void) poll(NULL, 0, 100);
    }
}


/* Signals are blocked but while waiting, so that none is missed. */
static void
run(int listener, const sigset_t *waiting)
{
    int i, n, timeout;
    struct timespec ts;
    struct pollfd polled[CHILDREN_MAX + 1];

    while (listener != -1 || running > 0) {
        for (i = 0; i < CHILDREN_MAX; i++) {
            polled[i].fd =
                children[i].pid != 0 && !children[i].left ? children[i].fd : -1;
            polled[i].events = polled[i].revents = 0;
        }

        polled[i].fd = running < CHILDREN_MAX ? listener : -1;
        polled[i].events = POLLIN;
        polled[i].revents = 0;

        timeout = watch(NULL);
        ts.tv_sec = timeout / 1000;
        ts.tv_nsec = timeout % 1000 * 1000000L;

        n = ppoll(polled, CHILDREN_MAX + 1, timeout == -1 ? NULL : &ts,
                  waiting);

        if (n > 0) {
            (void) watch(polled);
        }

        reap();

        if (terminated && listener != -1) {
            close(listener);
            listener = -1;
        }

        if (n > 0 && listener != -1 && polled[CHILDREN_MAX].revents != 0) {
            accept_one(listener);
        }
    }
}


/* A socket left by a process that died is taken away, one that answers is
 * not. */
static int
is_stale(const struct sockaddr_un *sun)
{
    int fd, rc, refused;

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return 0;
    }

    rc = connect(fd, (const struct sockaddr *) sun, sizeof(*sun));
    refused = rc == -1 && errno == ECONNREFUSED;
    close(fd);

    return refused;
}


static int
listen_at(const char *path)
{
    int fd;
    mode_t mask;
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(sun.sun_path)) {
        fprintf(stderr, "cardx-picture: the socket's path is too long: %s\n",
                path);
        return -1;
    }

    strcpy(sun.sun_path, path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (is_stale(&sun)) {
        unlink(path);
    }

    mask = umask(0117);

    if (fd == -1 || bind(fd, (const struct sockaddr *) &sun, sizeof(sun)) == -1
        || listen(fd, BACKLOG) == -1) {
        fprintf(stderr, "cardx-picture: can't listen at %s: %s\n", path,
                strerror(errno));
        return -1;
    }

    umask(mask);

    return fd;
}


static int
open_listener(int argc, char **argv)
{
    const char *given = getenv("CARDX_LISTEN_FD");

    if (given != NULL && strcmp(given, "3") == 0) {
        return fcntl(3, F_SETFL, O_NONBLOCK) == 0 ? 3 : -1;
    }

    if (argc != 2) {
        fprintf(stderr, "usage: cardx-picture <socket path>\n");
        return -1;
    }

    return listen_at(argv[1]);
}


static int
start_libraries(const char *program)
{
    answering = mmap(NULL, CHILDREN_MAX, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (answering == MAP_FAILED || cx_sandbox_init() == -1) {
        fprintf(stderr, "cardx-picture: no sandbox can be made\n");
        return -1;
    }

    /* Arenas of threads would take address space without use. */
    mallopt(M_ARENA_MAX, 2);

    if (cx_pixels_init(program) == -1) {
        fprintf(stderr, "cardx-picture: libvips does not start\n");
        return -1;
    }

    if (cx_text_init() == -1) {
        fprintf(stderr, "cardx-picture: there are no fonts\n");
        return -1;
    }

    return 0;
}


static void
catch_signals(sigset_t *waiting)
{
    sigset_t blocked;
    struct sigaction act = { .sa_handler = on_signal };

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, waiting);

    sigdelset(waiting, SIGTERM);
    sigdelset(waiting, SIGINT);
    sigdelset(waiting, SIGCHLD);

    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGCHLD, &act, NULL);
    signal(SIGPIPE, SIG_IGN);
}


int
main(int argc, char **argv)
{
    int listener;
    sigset_t waiting;

    setvbuf(stderr, NULL, _IOLBF, 0);
    catch_signals(&waiting);

    if (start_libraries(argv[0]) == -1) {
        return 1;
    }

    listener = open_listener(argc, argv);
    if (listener == -1) {
        return 1;
    }

    run(listener, &waiting);

    /* What fontconfig and libvips hold goes with the process. */
    _exit(0);
}
