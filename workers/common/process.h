/* What every worker process has in common: its start, its signals, and the
 * pokes that wake it. */

#ifndef CX_PROCESS_H
#define CX_PROCESS_H

#include <signal.h>
#include <stdbool.h>

#include "settings.h"

/* Set by TERM/INT: finish what is in hand and exit 0. */
extern volatile sig_atomic_t cx_stopping;

/* Opens the log, installs handlers (TERM and INT without SA_RESTART, PIPE
 * ignored), asks to be sent TERM when the supervisor dies, reads the settings
 * named by argv[1]; exits 2 with a line on stderr when it can't. */
cx_settings_t *cx_process_start(int argc, char **argv, const char *name);

/* A bound datagram socket <run_dir>/<name>.sock to be poked on; -1 and a log
 * line on failure. */
int cx_poke_listen(const cx_settings_t *settings, const char *name);

/* Waits until poked, ms passed, or a signal; drains all pending pokes. */
void cx_poke_wait(int fd, int ms);

/* Pokes a worker; never blocks, never fails: who is not poked polls. */
void cx_poke(const cx_settings_t *settings, const char *name);

#endif
