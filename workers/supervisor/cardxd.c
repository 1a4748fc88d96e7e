/*
 * cardxd SETTINGS: opens the pools' sockets, starts all workers, starts again
 * who dies.
 *
 * HUP reads the settings again and, if they are good, replaces the workers:
 * new ones start, old ones finish what they have in hand.  TERM and INT stop
 * everything.  cardxd -t SETTINGS only checks them.
 */

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "supervisor.h"

typedef struct {
    const char *path; /* of the settings, absolute */
    cx_settings_t *settings;
    int fds[CX_POOLS];
    sigset_t signals; /* blocked, and waited for */
    cx_crew_t *crew;
    cx_crew_t *leaving; /* replaced by a HUP, or NULL */
    int64_t patience;   /* when those who leave are killed */
    bool reload;        /* was asked for, and is to be done */
} cx_supervisor_t;


static bool
cx_folder(const char *path)
{
    if (mkdir(path, 0750) == -1 && errno != EEXIST) {
        cx_error("%s: %s", path, strerror(errno));
        return false;
    }

    return true;
}


/* One supervisor for a pid_dir: the lock goes with the process, however it
 * ends.  The file is never replaced, since the lock is on what it is. */
static bool
cx_supervisor_lock(const char *dir)
{
    char path[4096];
    int fd;

    snprintf(path, sizeof(path), "%s/cardxd.pid", dir);

    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd == -1) {
        cx_error("%s: %s", path, strerror(errno));
        return false;
    }

    if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        cx_error("%s is locked: another cardxd runs", path);
        close(fd);
        return false;
    }

    if (ftruncate(fd, 0) == -1 || dprintf(fd, "%d\n", (int) getpid()) < 0) {
        cx_error("%s: %s", path, strerror(errno));
        return false;
    }

    return true;
}


/* Pid files of a predecessor that was killed and had more workers. */
static void
cx_supervisor_tidy(const char *dir)
{
    char pattern[4096];
    glob_t found;
    size_t i;

    snprintf(pattern, sizeof(pattern), "%s/api-*.pid", dir);
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (i = 0; i < found.gl_pathc; i++) {
            unlink(found.gl_pathv[i]);
        }
        globfree(&found);
    }
}


static void
cx_supervisor_reap(cx_supervisor_t *s)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (!cx_crew_ended(s->crew, pid, status) && s->leaving != NULL) {
            cx_crew_ended(s->leaving, pid, status);
        }
    }

    if (s->leaving != NULL && cx_crew_running(s->leaving) == 0) {
        talloc_free(s->leaving);
        s->leaving = NULL;
    }
}


/* Settings that sockets, locks and pid files hang on stay as they are. */
static bool
cx_supervisor_same(const cx_settings_t *old, const cx_settings_t *new)
{
    return strcmp(old->run_dir, new->run_dir) == 0
           && strcmp(old->pid_dir, new->pid_dir) == 0;
}


static void
cx_supervisor_reload(cx_supervisor_t *s)
{
    cx_settings_t *settings;
    cx_crew_t *crew;
    const char *why;

    settings = cx_settings_read(NULL, s->path, &why);
    if (settings == NULL) {
        cx_error("settings are kept as they were: %s", why);
        return;
    }

    if (!cx_supervisor_same(s->settings, settings)) {
        cx_error("settings are kept as they were: run_dir and pid_dir need a "
                 "restart");
        talloc_free(settings);
        return;
    }

    crew = cx_crew_new(NULL, settings, s->path, s->fds);
    if (crew == NULL || !cx_sockets_change(settings, s->fds)) {
        talloc_free(crew);
        talloc_free(settings);
        return;
    }

    talloc_free(s->settings);
    s->settings = settings;
    cx_log_open("cardxd", (cx_log_level_t) settings->log_level);

    s->leaving = s->crew;
    s->crew = crew;
    s->patience = cx_monotonic_ms() + CX_STOP_WAIT;
    cx_crew_start(s->crew);
    cx_crew_stop(s->leaving, SIGTERM);

    cx_info("settings were read again, workers are replaced");
}


/* Waits for a signal, at most ms (-1: without end); 0: time is over. */
static int
cx_supervisor_wait(cx_supervisor_t *s, int ms)
{
    struct timespec limit = { ms / 1000, ms % 1000 * 1000000L };
    int signal_number;

    do {
        signal_number = ms < 0 ? sigwaitinfo(&s->signals, NULL)
                               : sigtimedwait(&s->signals, NULL, &limit);
    } while (signal_number == -1 && errno == EINTR);

    return signal_number == -1 ? 0 : signal_number;
}


/* The ms until something is to be done without a signal, or -1. */
static int
cx_supervisor_due(cx_supervisor_t *s)
{
    int64_t left;
    int ms;

    ms = cx_crew_start(s->crew);

    if (s->leaving != NULL) {
        left = s->patience - cx_monotonic_ms();
        if (left <= 0) {
            cx_warn("old workers that did not end are killed");
            cx_crew_stop(s->leaving, SIGKILL);
            s->patience = cx_monotonic_ms() + CX_STOP_WAIT;
            left = CX_STOP_WAIT;
        }

        if (ms == -1 || left < ms) {
            ms = (int) left;
        }
    }

    return ms;
}


static void
cx_supervisor_run(cx_supervisor_t *s)
{
    for (;;) {
        /* two generations at most: one that leaves finishes what it does */
        if (s->reload && s->leaving == NULL) {
            s->reload = false;
            cx_supervisor_reload(s);
        }

        switch (cx_supervisor_wait(s, cx_supervisor_due(s))) {
        case SIGCHLD:
            cx_supervisor_reap(s);
            break;
        case SIGHUP:
            s->reload = true;
            break;
        case SIGTERM:
        case SIGINT:
            return;
        }
    }
}


static void
cx_supervisor_stop(cx_supervisor_t *s)
{
    int64_t end, left;

    cx_info("stopping");
    cx_crew_stop(s->crew, SIGTERM);
    if (s->leaving != NULL) {
        cx_crew_stop(s->leaving, SIGTERM);
    }

    end = cx_monotonic_ms() + CX_STOP_WAIT;
    while (cx_crew_running(s->crew) > 0 || s->leaving != NULL) {
        left = end - cx_monotonic_ms();
        if (left <= 0) {
            cx_warn("workers that did not end are killed");
            cx_crew_stop(s->crew, SIGKILL);
            if (s->leaving != NULL) {
                cx_crew_stop(s->leaving, SIGKILL);
            }
            left = CX_STOP_WAIT;
            end = cx_monotonic_ms() + left;
        }

        cx_supervisor_wait(s, (int) left);
        cx_supervisor_reap(s);
    }

    cx_sockets_close(s->settings, s->fds);
    cx_pid_remove(s->settings->pid_dir, "cardxd", getpid());
    talloc_free(s->crew);
    talloc_free(s->settings);
}


/* The settings by a path that stays right, or exit. */
static void
cx_supervisor_settings(cx_supervisor_t *s, int argc, char **argv)
{
    const char *why;
    bool check;

    check = argc == 3 && strcmp(argv[1], "-t") == 0;
    if (!check && (argc != 2 || argv[1][0] == '-')) {
        fprintf(stderr, "usage: cardxd [-t] SETTINGS-FILE\n");
        exit(2);
    }

    s->settings = cx_settings_read(NULL, argv[argc - 1], &why);
    if (s->settings == NULL) {
        fprintf(stderr, "%s\n", why);
        exit(2);
    }

    if (check) {
        fprintf(stderr, "%s: good\n", argv[argc - 1]);
        exit(0);
    }

    s->path = realpath(argv[1], NULL);
    if (s->path == NULL) {
        fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        exit(2);
    }
}


int
main(int argc, char **argv)
{
    cx_supervisor_t s;

    memset(&s, 0, sizeof(s));
    cx_log_open("cardxd", CX_LOG_INFO);
    cx_supervisor_settings(&s, argc, argv);
    cx_log_open("cardxd", (cx_log_level_t) s.settings->log_level);

    sigemptyset(&s.signals);
    sigaddset(&s.signals, SIGCHLD);
    sigaddset(&s.signals, SIGHUP);
    sigaddset(&s.signals, SIGTERM);
    sigaddset(&s.signals, SIGINT);
    sigprocmask(SIG_BLOCK, &s.signals, NULL);
    umask(0027);

    if (!cx_folder(s.settings->run_dir) || !cx_folder(s.settings->pid_dir)
        || !cx_supervisor_lock(s.settings->pid_dir)
        || !cx_sockets_open(s.settings, s.fds)) {
        return 1;
    }

    cx_supervisor_tidy(s.settings->pid_dir);

    s.crew = cx_crew_new(NULL, s.settings, s.path, s.fds);
    if (s.crew == NULL) {
        return 1;
    }

    cx_info("started");
    cx_supervisor_run(&s);
    cx_supervisor_stop(&s);
    free((char *) s.path);

    return 0;
}
