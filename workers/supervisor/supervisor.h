/* The supervisor's pieces: listening sockets, and worker processes. */

#ifndef CX_SUPERVISOR_H
#define CX_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "settings.h"

#define CX_BACKOFF_FIRST 100 /* ms before the second restart in a row */
#define CX_BACKOFF_MAX 5000
#define CX_UP_ENOUGH 10000 /* ms after which a death is a first one again */
#define CX_STOP_WAIT 15000 /* ms from TERM to KILL */

typedef enum {
    CX_POOL_FAST,
    CX_POOL_SLOW,
    CX_POOL_MISS,
    CX_POOLS
} cx_pool_t;

extern const char *const cx_pool_names[CX_POOLS];

/* Listening sockets <run_dir>/<pool>.sock, in the order of the pools; what
 * stands in their place is removed.  False: logged. */
bool cx_sockets_open(const cx_settings_t *settings, int fds[CX_POOLS]);

/* Group, permissions and backlog as other settings have them. */
bool cx_sockets_change(const cx_settings_t *settings, int fds[CX_POOLS]);

void cx_sockets_close(const cx_settings_t *settings, int fds[CX_POOLS]);

typedef struct cx_crew_s cx_crew_t;

/* All workers of one generation, not yet running; they end when it is
 * freed only if cx_crew_stop() was called before. */
cx_crew_t *cx_crew_new(TALLOC_CTX *ctx, const cx_settings_t *settings,
                       const char *settings_path, const int fds[CX_POOLS]);

/* Starts whoever is due; the ms until the next one is, or -1: nobody. */
int cx_crew_start(cx_crew_t *crew);

/* Notes that a process ended; false: it is none of these. */
bool cx_crew_ended(cx_crew_t *crew, pid_t pid, int status);

/* Sends a signal to all who run; from then on nobody is started again. */
void cx_crew_stop(cx_crew_t *crew, int signal_number);

/* How many run. */
int cx_crew_running(const cx_crew_t *crew);

/* Removes <dir>/<name>.pid if it still names pid. */
void cx_pid_remove(const char *dir, const char *name, pid_t pid);

#endif
