/* The listening sockets of the three pools. */

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "supervisor.h"

const char *const cx_pool_names[CX_POOLS] = { "fast", "slow", "miss" };


static bool
cx_socket_address(const cx_settings_t *settings, cx_pool_t pool,
                  struct sockaddr_un *address)
{
    int n;

    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    n = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s.sock",
                 settings->run_dir, cx_pool_names[pool]);

    return n > 0 && (size_t) n < sizeof(address->sun_path);
}


bool
cx_sockets_change(const cx_settings_t *settings, int fds[CX_POOLS])
{
    struct sockaddr_un address;
    struct group *group;
    gid_t gid;
    int i;

    gid = (gid_t) -1;
    if (settings->socket_group != NULL) {
        group = getgrnam(settings->socket_group);
        if (group == NULL) {
            cx_error("socket_group: there is no group %s",
                     settings->socket_group);
            return false;
        }
        gid = group->gr_gid;
    }

    for (i = 0; i < CX_POOLS; i++) {
        if (!cx_socket_address(settings, (cx_pool_t) i, &address)
            || chown(address.sun_path, (uid_t) -1, gid) == -1
            || chmod(address.sun_path, (mode_t) settings->socket_mode) == -1
            || listen(fds[i], settings->socket_backlog) == -1) {
            cx_error("%s: %s", address.sun_path, strerror(errno));
            return false;
        }
    }

    return true;
}


bool
cx_sockets_open(const cx_settings_t *settings, int fds[CX_POOLS])
{
    struct sockaddr_un address;
    int i;

    for (i = 0; i < CX_POOLS; i++) {
        fds[i] = -1;
    }

    for (i = 0; i < CX_POOLS; i++) {
        if (!cx_socket_address(settings, (cx_pool_t) i, &address)) {
            cx_error("%s is too long for a socket", settings->run_dir);
            return false;
        }

        /* A predecessor that was killed leaves its own behind. */
        unlink(address.sun_path);

        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fds[i] == -1
            || bind(fds[i], (struct sockaddr *) &address, sizeof(address))
                   == -1) {
            cx_error("%s: %s", address.sun_path, strerror(errno));
            return false;
        }
    }

    return cx_sockets_change(settings, fds);
}


void
cx_sockets_close(const cx_settings_t *settings, int fds[CX_POOLS])
{
    struct sockaddr_un address;
    int i;

    for (i = 0; i < CX_POOLS; i++) {
        if (fds[i] != -1
            && cx_socket_address(settings, (cx_pool_t) i, &address)) {
            unlink(address.sun_path);
            close(fds[i]);
            fds[i] = -1;
        }
    }
}
