#include "media/picture_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>


#define FIRST_FILE 64 /* kept files have the descriptors from here */
#define SPARE_FILES 16
#define MEMORY_MAX (768UL << 20)
#define ADDRESSES_MAX (4UL << 30)
#define TASKS_MAX 1024

#if defined(__x86_64__)
#define ARGUMENT_0(u) ((u)->uc_mcontext.gregs[REG_RDI])
#define ARGUMENT_1(u) ((u)->uc_mcontext.gregs[REG_RSI])
#define RESULT(u) ((u)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARGUMENT_0(u) ((u)->uc_mcontext.regs[0])
#define ARGUMENT_1(u) ((u)->uc_mcontext.regs[1])
#define RESULT(u) ((u)->uc_mcontext.regs[0])
#else
#error "the registers of a system call are not known for this processor"
#endif

/* Of the kernel's siginfo.h, which can't be had beside libc's signal.h. */
#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))


static struct {
    char *path[CX_SANDBOX_FILES_MAX];
    int count;
    scmp_filter_ctx filter;
} sandbox;

/* To compute, to have threads of one's own, and to answer on descriptor 0. */
static const int allowed[] = {
    SCMP_SYS(brk),           SCMP_SYS(clock_getres),
    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(close),         SCMP_SYS(dup),
    SCMP_SYS(exit),          SCMP_SYS(exit_group),
    SCMP_SYS(fstat),         SCMP_SYS(futex),
    SCMP_SYS(getpid),        SCMP_SYS(getrandom),
    SCMP_SYS(gettid),        SCMP_SYS(gettimeofday),
    SCMP_SYS(lseek),         SCMP_SYS(madvise),
    SCMP_SYS(membarrier),    SCMP_SYS(mremap),
    SCMP_SYS(munmap),        SCMP_SYS(nanosleep),
    SCMP_SYS(poll),          SCMP_SYS(ppoll),
    SCMP_SYS(pread64),       SCMP_SYS(read),
    SCMP_SYS(recvfrom),      SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),          SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),   SCMP_SYS(set_robust_list),
    SCMP_SYS(sigaltstack),   SCMP_SYS(write),
};

/* What libraries ask about the machine; they live with a refusal. */
static const int refused[] = {
    SCMP_SYS(get_mempolicy),
    SCMP_SYS(getcwd),
    SCMP_SYS(getegid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getpeername),
    SCMP_SYS(getrlimit),
    SCMP_SYS(getrusage),
    SCMP_SYS(getuid),
    SCMP_SYS(ioctl),
    SCMP_SYS(lstat),
    SCMP_SYS(mbind),
    SCMP_SYS(prlimit64),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(sched_getattr),
    SCMP_SYS(sched_getparam),
    SCMP_SYS(sched_getscheduler),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_setattr),
    SCMP_SYS(sched_setscheduler),
    SCMP_SYS(set_mempolicy),
    SCMP_SYS(stat),
    SCMP_SYS(statfs),
    SCMP_SYS(statx),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
};

static const int trapped[] = {
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(openat),
};


int
cx_sandbox_keep(const char *path)
{
    int i, fd, kept;

    for (i = 0; i < sandbox.count; i++) {
        if (strcmp(sandbox.path[i], path) == 0) {
            return 0;
        }
    }

    if (sandbox.count == CX_SANDBOX_FILES_MAX) {
        return -1;
    }

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    kept = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FILE);
    close(fd);

    if (kept != FIRST_FILE + sandbox.count) {
        if (kept != -1) {
            close(kept);
        }

        return -1;
    }

    sandbox.path[sandbox.count] = strdup(path);
    if (sandbox.path[sandbox.count] == NULL) {
        close(kept);
        return -1;
    }

    sandbox.count++;

    return 0;
}


/* Answers a call for a file that the filter caught, openat(), access() or
 * faccessat(): a kept file is there, no other is.  Runs in the thread that
 * called, and takes no lock. */
static void
on_file(int signo, siginfo_t *info, void *context)
{
    int i;
    long result;
    const char *path;
    ucontext_t *u = context;

    (void) signo;

    if (info->si_code != SYS_SECCOMP) {
        _exit(128 + SIGSYS);
    }

    path = (const char *) (info->si_syscall == __SNR_access ? ARGUMENT_0(u)
                                                            : ARGUMENT_1(u));
    result = -EACCES;

    for (i = 0; i < sandbox.count; i++) {
        if (strcmp(sandbox.path[i], path) == 0) {
            result = 0;

            if (info->si_syscall == __SNR_openat) {
                result = dup(FIRST_FILE + i);
                result = result == -1 ? -EMFILE : result;
            }

            break;
        }
    }

    RESULT(u) = result;
}


static int
add_rules(scmp_filter_ctx f)
{
    int failed = 0;
    size_t i;
    const struct scmp_arg_cmp own_thread = SCMP_A0(
        SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM);
    const struct scmp_arg_cmp not_code =
        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp code =
        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC);
    const struct scmp_arg_cmp to_peer = SCMP_A4(SCMP_CMP_EQ, 0, 0);
    const struct scmp_arg_cmp to_name = SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0);
    const struct scmp_arg_cmp of_fd =
        SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH);
    const struct scmp_arg_cmp of_path =
        SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0);

    for (i = 0; i < COUNT(allowed); i++) {
        failed |= seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
    }

    for (i = 0; i < COUNT(refused); i++) {
        failed |= seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
    }

    /* vips works in threads even when it has one.  The flags of clone3() are
     * behind a pointer, which a filter can't follow, so libc is told that it
     * does not exist and takes clone(). */
    failed |=
        seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, own_thread);
    failed |= seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

    /* No new code: neither compiled at run time nor loaded. */
    failed |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_code);
    failed |=
        seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(mmap), 1, code);
    failed |=
        seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_code);
    failed |= seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(mprotect), 1,
                               code);

    failed |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(sendto), 1, to_peer);
    failed |= seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1, to_name);
    failed |=
        seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1, of_fd);
    failed |= seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat),
                               1, of_path);
    failed |= seccomp_rule_add(
        f, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
        SCMP_A1(SCMP_CMP_MASKED_EQ, ~7ULL, 0)); /* F_DUPFD to F_GETLK */

    for (i = 0; i < COUNT(trapped); i++) {
        failed |= seccomp_rule_add(f, SCMP_ACT_TRAP, trapped[i], 0);
    }

    return failed ? -1 : 0;
}


int
cx_sandbox_init(void)
{
    sandbox.filter = seccomp_init(CX_SANDBOX_SANITIZED ? SCMP_ACT_ERRNO(ENOTSUP)
                                                       : SCMP_ACT_KILL_PROCESS);

    if (sandbox.filter == NULL) {
        return -1;
    }

    return add_rules(sandbox.filter);
}


static int
limit(int resource, rlim_t most)
{
    struct rlimit now, r = { most, most };

    if (getrlimit(resource, &now) == -1) {
        return -1;
    }

    if (now.rlim_max < most) {
        r.rlim_cur = r.rlim_max = now.rlim_max;
    }

    return setrlimit(resource, &r);
}


/* RLIMIT_NPROC counts all tasks of the user, so it only stops a flood; that
 * no process is made is the filter's business. */
static int
set_limits(void)
{
    int failed = 0;

    if (!CX_SANDBOX_SANITIZED) {
        failed |= limit(RLIMIT_AS, ADDRESSES_MAX);
        failed |= limit(RLIMIT_DATA, MEMORY_MAX);
    }

    failed |= limit(RLIMIT_CPU, CX_SANDBOX_CPU);
    failed |= limit(RLIMIT_FSIZE, 0);
    failed |= limit(RLIMIT_CORE, 0);
    failed |= limit(RLIMIT_NPROC, TASKS_MAX);
    failed |= limit(RLIMIT_NOFILE,
                    (rlim_t) (FIRST_FILE + sandbox.count + SPARE_FILES));

    return failed ? -1 : 0;
}


/* Descriptor 0 is the connection, 1 and 2 lead nowhere, the kept files stay,
 * everything else is closed. */
static int
set_files(int fd)
{
    int null;

    null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null == -1 || dup2(fd, 0) == -1 || dup2(null, 1) == -1) {
        return -1;
    }

    if (!CX_SANDBOX_SANITIZED && dup2(null, 2) == -1) {
        return -1;
    }

    if (close_range(3, FIRST_FILE - 1, 0) == -1
        || close_range((unsigned) (FIRST_FILE + sandbox.count), ~0U, 0) == -1) {
        return -1;
    }

    return 0;
}


int
cx_sandbox_enter(int fd)
{
    struct sigaction act = { .sa_sigaction = on_file, .sa_flags = SA_SIGINFO };

    if (set_files(fd) == -1 || set_limits() == -1) {
        return -1;
    }

    if (sigaction(SIGSYS, &act, NULL) == -1
        || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1
        || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1) {
        return -1;
    }

    return seccomp_load(sandbox.filter) == 0 ? 0 : -1;
}
