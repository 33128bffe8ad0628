/* Attacks on another process: by pid, or on a "child" of its own (the positive control, which
 * every kernel grants to the parent). */
#include "guest.h"
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define ACT(name) static void name(int argc, char **argv)

static long word = 1;
static pid_t child_of_ours;

static pid_t target(int argc, char **argv) {
    if (argc < 1 || strcmp(argv[0], "child") != 0) return argc < 1 ? 1 : (pid_t)atol(argv[0]);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
    }
    child_of_ours = pid;
    return pid;
}
static void proc_open(int argc, char **argv, const char *file) {
    char path[64], byte;
    snprintf(path, sizeof path, "/proc/%d/%s", target(argc, argv), file);
    int fd = open(path, O_RDONLY);
    if (fd >= 0 && strcmp(file, "mem") == 0)
        outcome(pread(fd, &byte, 1, (off_t)(uintptr_t)&word));
    else
        outcome(fd < 0 ? -1 : read(fd, &byte, 1));
}
static void proc_link(int argc, char **argv, const char *file) {
    char path[64], to[512];
    snprintf(path, sizeof path, "/proc/%d/%s", target(argc, argv), file);
    outcome(readlink(path, to, sizeof to));
}
ACT(mem) { proc_open(argc, argv, "mem"); }
ACT(environ_) { proc_open(argc, argv, "environ"); }
ACT(maps) { proc_open(argc, argv, "maps"); }
ACT(auxv) { proc_open(argc, argv, "auxv"); }
ACT(root) { proc_link(argc, argv, "root"); }
ACT(cwd) { proc_link(argc, argv, "cwd"); }
ACT(exe) { proc_link(argc, argv, "exe"); }
ACT(fd0) { proc_link(argc, argv, "fd/0"); }
ACT(fd) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", target(argc, argv));
    DIR *dir = opendir(path);
    outcome(dir && readdir(dir) ? 0 : -1);
}
ACT(mem_write) {
    char path[64];
    long value = 2;
    snprintf(path, sizeof path, "/proc/%d/mem", target(argc, argv));
    int fd = open(path, O_RDWR);
    outcome(fd < 0 ? -1 : pwrite(fd, &value, sizeof value, (off_t)(uintptr_t)&word));
}
ACT(attach) { outcome(ptrace(PTRACE_ATTACH, target(argc, argv), 0, 0)); }
ACT(seize) { outcome(ptrace(PTRACE_SEIZE, target(argc, argv), 0, 0)); }
ACT(vm_readv) {
    long got;
    struct iovec here = {&got, sizeof got}, there = {&word, sizeof word};
    outcome(process_vm_readv(target(argc, argv), &here, 1, &there, 1, 0));
}
ACT(vm_writev) {
    long value = 2;
    struct iovec here = {&value, sizeof value}, there = {&word, sizeof word};
    outcome(process_vm_writev(target(argc, argv), &here, 1, &there, 1, 0));
}
ACT(getfd) {
    long pidfd = syscall(SYS_pidfd_open, target(argc, argv), 0);
    outcome(pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}
ACT(limit) {
    struct rlimit old;
    pid_t pid = target(argc, argv);
    if (prlimit(pid, RLIMIT_NOFILE, NULL, &old)) { refused(errno); return; }
    outcome(prlimit(pid, RLIMIT_NOFILE, &old, NULL));
}
ACT(kill_) { outcome(kill(target(argc, argv), SIGKILL)); }
ACT(kill_thread) { pid_t pid = target(argc, argv); outcome(syscall(SYS_tgkill, pid, pid, SIGKILL)); }
ACT(kill_queued) { outcome(sigqueue(target(argc, argv), SIGKILL, (union sigval){0})); }
ACT(kill_pidfd) {
    long pidfd = syscall(SYS_pidfd_open, target(argc, argv), 0);
    outcome(pidfd < 0 ? -1 : syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0));
}
/* Makes a pipe's readiness a signal to the target, by each way to name it; EFFECT means that the
 * kernel took the name. The signal kills whom it reaches. */
static int noisy[2];
static void ready(void) {
    fcntl(noisy[0], F_SETFL, fcntl(noisy[0], F_GETFL) | O_ASYNC);
    ssize_t n = write(noisy[1], "x", 1);
    (void)n;
}
ACT(sigio) {
    if (pipe(noisy) || fcntl(noisy[0], F_SETOWN, target(argc, argv))) { refused(errno); return; }
    ready();
    say("EFFECT");
}
ACT(sigio_ex) {
    struct f_owner_ex owner = {F_OWNER_PID, target(argc, argv)};
    if (pipe(noisy) || fcntl(noisy[0], F_SETOWN_EX, &owner)) { refused(errno); return; }
    ready();
    say("EFFECT");
}
ACT(sigio_ioctl) {
    int owner = target(argc, argv);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, noisy) || ioctl(noisy[0], FIOSETOWN, &owner)) { refused(errno); return; }
    ready();
    say("EFFECT");
}
ACT(set_owner) {
    int fds[2];
    outcome(pipe(fds) ? -1 : fcntl(fds[0], F_SETOWN, target(argc, argv)));
}

int main(int argc, char **argv) {
    static const struct act acts[] = {
        {"mem", mem}, {"environ", environ_}, {"maps", maps}, {"auxv", auxv}, {"root", root},
        {"cwd", cwd}, {"exe", exe}, {"fd", fd}, {"fd0", fd0}, {"seize", seize},
        {"vm_readv", vm_readv}, {"vm_writev", vm_writev}, {"getfd", getfd}, {"limit", limit},
        {"kill", kill_}, {"mem_write", mem_write}, {"attach", attach}, {"kill_thread", kill_thread},
        {"kill_queued", kill_queued}, {"kill_pidfd", kill_pidfd}, {"sigio", sigio}, {"sigio_ex", sigio_ex},
        {"sigio_ioctl", sigio_ioctl}, {"set_owner", set_owner}, {NULL, NULL},
    };
    int status = dispatch(acts, argc, argv);
    if (child_of_ours > 0) {
        kill(child_of_ours, SIGKILL);
        waitpid(child_of_ours, NULL, 0);
    }
    return status;
}
