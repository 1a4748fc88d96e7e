/*
 * Holds connections that wait for server-sent events:
 *
 *     hold PORT FILE        a line of FILE: "<path> <token>", one connection
 *     hold -q PORT FILE     of requests that are never answered
 *
 * Says "held <n>" when all are answered with 200 (-q: when all are sent).
 * Then each line that it reads is a number: it says "events <n>" when as many
 * have come, over all connections, since the start.  At the end of input it
 * closes them all.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define AHEAD 200         /* connections that wait for their answer */
#define PER_ADDRESS 20000 /* each needs a port of its own */
#define PATTERN "\ndata:"

typedef struct {
    int fd;
    unsigned seen; /* characters of the pattern */
    bool answered;
} held_t;

static int port, epoll;
static long answered, events;


static void
fail(const char *what)
{
    fprintf(stderr, "hold: %s: %s\n", what, strerror(errno));
    exit(1);
}


static void
raise_limit(long n)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail("getrlimit");
    }

    if (limit.rlim_cur >= (rlim_t) n + 16) {
        return;
    }

    limit.rlim_cur = (rlim_t) n + 16;

    if (limit.rlim_max < limit.rlim_cur) {
        limit.rlim_max = limit.rlim_cur;
    }

    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        fail("the limit of open files (ulimit -n) is too low");
    }
}


static int
connected(long number)
{
    int fd, on;
    struct sockaddr_in address;

    on = 1;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket");
    }

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr =
        htonl((uint32_t) (INADDR_LOOPBACK + number / PER_ADDRESS));

    /* the port is chosen by connect(), which is quick at it */
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on))
            != 0
        || bind(fd, (struct sockaddr *) &address, sizeof(address)) != 0) {
        fail("bind");
    }

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t) port);

    if (connect(fd, (struct sockaddr *) &address, sizeof(address)) != 0) {
        fail("connect");
    }

    return fd;
}


static void
ask(held_t *held, long number, const char *line)
{
    int n;
    char path[512], token[256], request[1024];
    struct epoll_event event;

    if (sscanf(line, "%511s %255s", path, token) != 2) {
        fprintf(stderr, "hold: not \"path token\": %s\n", line);
        exit(1);
    }

    held->fd = connected(number);
    n = snprintf(request, sizeof(request),
                 "GET %s HTTP/1.1\r\nHost: bench\r\n"
                 "Accept: text/event-stream\r\n"
                 "Authorization: Bearer %s\r\n\r\n",
                 path, token);

    if (write(held->fd, request, (size_t) n) != n
        || fcntl(held->fd, F_SETFL, O_NONBLOCK) != 0) {
        fail("write");
    }

    event.events = EPOLLIN;
    event.data.ptr = held;

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, held->fd, &event) != 0) {
        fail("epoll_ctl");
    }
}


static void
take(held_t *held)
{
    char buffer[16384];
    ssize_t i, n;

    n = read(held->fd, buffer, sizeof(buffer));

    if (n < 0 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        fail("a connection was closed");
    }

    if (!held->answered) {
        if (n < 12 || memcmp(buffer, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "hold: answered: %.*s\n", (int) n, buffer);
            exit(1);
        }

        held->answered = true;
        answered++;
    }

    /* only the first character is twice in none of its beginnings */
    for (i = 0; i < n; i++) {
        held->seen = buffer[i] == PATTERN[held->seen] ? held->seen + 1
                     : buffer[i] == PATTERN[0]        ? 1
                                                      : 0;

        if (held->seen == sizeof(PATTERN) - 1) {
            held->seen = 0;
            events++;
        }
    }
}


/* True: a line can be read. */
static bool
turn(void)
{
    int i, n;
    bool line;
    struct epoll_event ready[256];

    n = epoll_wait(epoll, ready, 256, -1);
    line = false;

    for (i = 0; i < n; i++) {
        if (ready[i].data.ptr == NULL) {
            line = true;

        } else {
            take(ready[i].data.ptr);
        }
    }

    return line;
}


static void
hold(FILE *file, held_t *all, long n, bool quiet)
{
    long i;
    char line[1024];

    for (i = 0; i < n; i++) {
        if (fgets(line, sizeof(line), file) == NULL) {
            fail("the file became shorter");
        }

        ask(&all[i], i, line);

        while (!quiet && i - answered > AHEAD) {
            turn();
        }
    }

    while (!quiet && answered < n) {
        turn();
    }

    printf("held %ld\n", n);
    fflush(stdout);
}


int
main(int argc, char **argv)
{
    long n, want;
    bool quiet;
    char line[1024];
    FILE *file;
    held_t *all;
    struct epoll_event event;

    quiet = argc == 4 && strcmp(argv[1], "-q") == 0;

    if (argc != (quiet ? 4 : 3)) {
        fprintf(stderr, "usage: hold [-q] PORT FILE\n");
        return 2;
    }

    port = atoi(argv[argc - 2]);
    file = fopen(argv[argc - 1], "r");
    if (file == NULL) {
        fail(argv[argc - 1]);
    }

    for (n = 0; fgets(line, sizeof(line), file) != NULL; n++) { /* void */
    }

    rewind(file);
    raise_limit(n);

    all = calloc((size_t) n + 1, sizeof(held_t));
    epoll = epoll_create1(EPOLL_CLOEXEC);

    if (all == NULL || epoll < 0) {
        fail("out of memory");
    }

    hold(file, all, n, quiet);
    fclose(file);

    event.events = EPOLLIN;
    event.data.ptr = NULL;

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event) != 0) {
        fail("epoll_ctl");
    }

    for (;;) {
        while (!turn()) { /* void */
        }

        if (fgets(line, sizeof(line), stdin) == NULL) {
            break;
        }

        for (want = atol(line); events < want; turn()) { /* void */
        }

        printf("events %ld\n", events);
        fflush(stdout);
    }

    free(all);

    return 0;
}
