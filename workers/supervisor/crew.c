/* The worker processes: who they are, their start, their end. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "supervisor.h"

typedef struct {
    char *name;    /* of its pid file, and in the log */
    char *argv[4]; /* the program first */
    int fd;        /* its standard input: a listening socket, or -1 */
    pid_t pid;     /* 0: does not run */
    pid_t last;    /* in its pid file */
    int64_t since; /* started then */
    int64_t due;   /* to be started then, if it does not run */
    int backoff;   /* ms to wait after the next death */
} cx_worker_t;

struct cx_crew_s {
    char *pid_dir;
    char *programs; /* the folder they stand in: the supervisor's own */
    bool stopping;
    int n;
    cx_worker_t *workers;
};


/* Written whole or not at all. */
static void
cx_pid_write(const char *dir, const char *name, pid_t pid)
{
    char path[4096], new_path[4096 + 4];
    FILE *f;
    bool good;

    snprintf(path, sizeof(path), "%s/%s.pid", dir, name);
    snprintf(new_path, sizeof(new_path), "%s.new", path);

    f = fopen(new_path, "we");
    good = f != NULL && fprintf(f, "%d\n", (int) pid) > 0;
    if (f != NULL && fclose(f) != 0) {
        good = false;
    }

    if (!good || rename(new_path, path) == -1) {
        cx_error("%s: %s", path, strerror(errno));
    }
}


void
cx_pid_remove(const char *dir, const char *name, pid_t pid)
{
    char path[4096];
    FILE *f;
    int there = 0;

    snprintf(path, sizeof(path), "%s/%s.pid", dir, name);

    f = fopen(path, "re");
    if (f == NULL) {
        return;
    }

    if (fscanf(f, "%d", &there) == 1 && there == (int) pid) {
        unlink(path);
    }

    fclose(f);
}


/* Appends a worker; arguments after the program may be NULL. */
static bool
cx_crew_add(cx_crew_t *crew, char *name, const char *program,
            const char *argument, const char *second, int fd)
{
    cx_worker_t *workers, *w;

    workers = talloc_realloc(crew, crew->workers, cx_worker_t, crew->n + 1);
    if (workers == NULL || name == NULL) {
        return false;
    }

    crew->workers = workers;
    w = &workers[crew->n++];

    memset(w, 0, sizeof(*w));
    w->name = name;
    w->fd = fd;
    w->argv[0] = talloc_asprintf(crew, "%s/%s", crew->programs, program);
    w->argv[1] = talloc_strdup(crew, argument);
    w->argv[2] = second != NULL ? talloc_strdup(crew, second) : NULL;

    return w->argv[0] != NULL && w->argv[1] != NULL
           && (second == NULL || w->argv[2] != NULL);
}


/* Several of a kind that takes its turn from the outbox: "push-0" is
 * `cardx-push SETTINGS 0`. */
static bool
cx_crew_several(cx_crew_t *crew, const char *path, const char *kind, int count)
{
    char *name, *program;
    int i;

    for (i = 0; i < count; i++) {
        name = talloc_asprintf(crew, "%s-%d", kind, i);
        program = talloc_asprintf(crew, "cardx-%s", kind);
        if (name == NULL || program == NULL
            || !cx_crew_add(crew, name, program, path, name + strlen(kind) + 1,
                            -1)) {
            return false;
        }
    }

    return true;
}


static bool
cx_crew_fill(cx_crew_t *crew, const cx_settings_t *settings, const char *path,
             const int fds[CX_POOLS])
{
    const int counts[CX_POOLS] = { settings->workers_fast,
                                   settings->workers_slow,
                                   settings->workers_miss };
    static const char *const singles[] = { "fanout", "media" };
    char *name, *socket;
    size_t k;
    int i, j;

    for (i = 0; i < CX_POOLS; i++) {
        for (j = 0; j < counts[i]; j++) {
            name = talloc_asprintf(crew, "api-%s-%d", cx_pool_names[i], j);
            if (!cx_crew_add(crew, name, "cardx-api", path, cx_pool_names[i],
                             fds[i])) {
                return false;
            }
        }
    }

    if (!cx_crew_several(crew, path, "deliver", settings->workers_deliver)
        || !cx_crew_several(crew, path, "push", settings->workers_push)) {
        return false;
    }

    for (k = 0; k < sizeof(singles) / sizeof(singles[0]); k++) {
        name = talloc_asprintf(crew, "cardx-%s", singles[k]);
        if (name == NULL
            || !cx_crew_add(crew, talloc_strdup(crew, singles[k]), name, path,
                            NULL, -1)) {
            return false;
        }
    }

    socket = talloc_asprintf(crew, "%s/picture.sock", settings->run_dir);
    return socket != NULL
           && cx_crew_add(crew, talloc_strdup(crew, "picture"), "cardx-picture",
                          socket, NULL, -1);
}


/* The folder of the running program. */
static char *
cx_programs(TALLOC_CTX *ctx)
{
    char path[4096], *slash;
    ssize_t n;

    n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (n <= 0) {
        return NULL;
    }

    path[n] = '\0';
    slash = strrchr(path, '/');
    if (slash == NULL) {
        return NULL;
    }

    *slash = '\0';
    return talloc_strdup(ctx, path);
}


cx_crew_t *
cx_crew_new(TALLOC_CTX *ctx, const cx_settings_t *settings,
            const char *settings_path, const int fds[CX_POOLS])
{
    cx_crew_t *crew;

    crew = talloc_zero(ctx, cx_crew_t);
    if (crew == NULL) {
        return NULL;
    }

    crew->pid_dir = talloc_strdup(crew, settings->pid_dir);
    crew->programs = cx_programs(crew);

    if (crew->pid_dir == NULL || crew->programs == NULL
        || !cx_crew_fill(crew, settings, settings_path, fds)) {
        cx_error("can't name the workers: no memory, or no /proc");
        talloc_free(crew);
        return NULL;
    }

    return crew;
}


/* In the child: becomes the worker. */
static void
cx_worker_exec(const cx_worker_t *w, pid_t supervisor)
{
    sigset_t none;
    int fd;

    /* Who is left alone ends, also when the supervisor died before this. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != supervisor) {
        _exit(0);
    }

    fd = w->fd != -1 ? w->fd : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd == -1 || dup2(fd, STDIN_FILENO) == -1) {
        cx_error("%s: %s", w->name, strerror(errno));
        _exit(126);
    }

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);

    execv(w->argv[0], w->argv);

    cx_error("can't run %s: %s", w->argv[0], strerror(errno));
    _exit(127);
}


static void
cx_worker_start(cx_crew_t *crew, cx_worker_t *w)
{
    pid_t supervisor = getpid();

    w->since = cx_monotonic_ms();
    w->pid = fork();

    switch (w->pid) {
    case -1:
        w->pid = 0;
        w->due = w->since + CX_BACKOFF_MAX;
        cx_error("can't start %s: %s", w->name, strerror(errno));
        return;
    case 0:
        cx_worker_exec(w, supervisor);
        return;
    default:
        w->last = w->pid;
        cx_pid_write(crew->pid_dir, w->name, w->pid);
    }
}


int
cx_crew_start(cx_crew_t *crew)
{
    cx_worker_t *w;
    int64_t now, wait;
    int i;

    if (crew->stopping) {
        return -1;
    }

    wait = -1;
    for (i = 0; i < crew->n; i++) {
        w = &crew->workers[i];
        now = cx_monotonic_ms();

        if (w->pid == 0 && w->due <= now) {
            cx_worker_start(crew, w);
        }

        if (w->pid == 0 && (wait == -1 || w->due - now < wait)) {
            wait = w->due - now;
        }
    }

    return (int) wait;
}


static void
cx_worker_log(const cx_worker_t *w, pid_t pid, int status, bool wanted)
{
    int signal_number;

    if (!WIFSIGNALED(status)) {
        cx_log(wanted || WEXITSTATUS(status) == 0 ? CX_LOG_INFO : CX_LOG_ERROR,
               "%s (%d) exited with code %d", w->name, (int) pid,
               WEXITSTATUS(status));
        return;
    }

    /* TERM and KILL come from outside; all others are bugs of ours. */
    signal_number = WTERMSIG(status);
    cx_log(signal_number == SIGTERM || signal_number == SIGKILL ? CX_LOG_WARN
                                                                : CX_LOG_ALERT,
           "%s (%d) exited on signal %d", w->name, (int) pid, signal_number);
}


bool
cx_crew_ended(cx_crew_t *crew, pid_t pid, int status)
{
    cx_worker_t *w;
    int64_t now;
    int i;

    for (i = 0; i < crew->n && crew->workers[i].pid != pid; i++) {
        /* looking for it */
    }

    if (i == crew->n) {
        return false;
    }

    w = &crew->workers[i];
    cx_worker_log(w, pid, status, crew->stopping);

    /* Until it runs again its pid file says that it does not. */
    if (crew->stopping) {
        cx_pid_remove(crew->pid_dir, w->name, pid);
    }

    now = cx_monotonic_ms();
    if (now - w->since >= CX_UP_ENOUGH) {
        w->backoff = 0;
    }

    w->pid = 0;
    w->due = now + w->backoff;
    w->backoff = w->backoff == 0 ? CX_BACKOFF_FIRST : 2 * w->backoff;
    if (w->backoff > CX_BACKOFF_MAX) {
        w->backoff = CX_BACKOFF_MAX;
    }

    return true;
}


void
cx_crew_stop(cx_crew_t *crew, int signal_number)
{
    int i;

    crew->stopping = true;

    for (i = 0; i < crew->n; i++) {
        if (crew->workers[i].pid != 0) {
            kill(crew->workers[i].pid, signal_number);

        } else {
            /* it has died, and is not started again */
            cx_pid_remove(crew->pid_dir, crew->workers[i].name,
                          crew->workers[i].last);
        }
    }
}


int
cx_crew_running(const cx_crew_t *crew)
{
    int i, n;

    n = 0;
    for (i = 0; i < crew->n; i++) {
        n += crew->workers[i].pid != 0;
    }

    return n;
}
