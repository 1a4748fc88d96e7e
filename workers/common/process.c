/* See process.h. */

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "pg_link.h"
#include "process.h"

volatile sig_atomic_t cx_stopping;


static void
cx_process_stop(int signal_number)
{
    (void) signal_number;
    cx_stopping = 1;
}


static void
cx_process_signals(void)
{
    struct sigaction action;
    sigset_t none;

    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);

    action.sa_handler = cx_process_stop; /* no SA_RESTART: calls return */
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);

    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGHUP, &action, NULL);

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}


cx_settings_t *
cx_process_start(int argc, char **argv, const char *name)
{
    cx_settings_t *settings;
    const char *why;

    cx_log_open(name, CX_LOG_INFO);
    cx_process_signals();
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    if (argc < 2) {
        fprintf(stderr, "usage: %s SETTINGS-FILE\n", name);
        exit(2);
    }

    settings = cx_settings_read(NULL, argv[1], &why);
    if (settings == NULL) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }

    cx_log_open(name, (cx_log_level_t) settings->log_level);
    cx_pg_patience(settings->postgresql_timeout);
    return settings;
}


/* -1: the path is too long for a socket. */
static int
cx_poke_address(const cx_settings_t *settings, const char *name,
                struct sockaddr_un *address)
{
    int n;

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;

    n = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.sock",
                 settings->run_dir, name);

    return n > 0 && (size_t) n < sizeof(address->sun_path) ? 0 : -1;
}


int
cx_poke_listen(const cx_settings_t *settings, const char *name)
{
    struct sockaddr_un address;
    int fd;

    if (cx_poke_address(settings, name, &address) == -1) {
        cx_error("%s/%s.sock is too long for a socket", settings->run_dir,
                 name);
        return -1;
    }

    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        cx_error("socket: %s", strerror(errno));
        return -1;
    }

    /* What a predecessor left, or still uses: it is stopping, and polls. */
    unlink(address.sun_path);

    if (bind(fd, (struct sockaddr *) &address, sizeof(address)) == -1
        || chmod(address.sun_path, 0660) == -1) {
        cx_error("%s: %s", address.sun_path, strerror(errno));
        close(fd);
        return -1;
    }

    return fd;
}


void
cx_poke_wait(int fd, int ms)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    char byte;

    if (poll(&pfd, 1, ms) <= 0) {
        return;
    }

    while (recv(fd, &byte, 1, MSG_DONTWAIT) >= 0) {
        /* one wake-up for all of them */
    }
}


void
cx_poke(const cx_settings_t *settings, const char *name)
{
    static int sender = -1;
    struct sockaddr_un address;

    if (sender == -1) {
        sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (sender == -1) {
            return;
        }
    }

    if (cx_poke_address(settings, name, &address) == 0) {
        /* A full queue means that it is awake already. */
        (void) sendto(sender, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL,
                      (struct sockaddr *) &address, sizeof(address));
    }
}
