/* Guests that take more than they may, or stay longer than they should. */
#include "guest.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define ACT(name) static void name(int argc, char **argv)
#define UNUSED (void)argc, (void)argv
#define MIB (1UL << 20)

static size_t number(int argc, char **argv, int index) {
    return argc > index ? strtoul(argv[index], NULL, 10) : 0;
}
static void forever(void) { for (;;) pause(); }

/* Touches N MiB and keeps them. */
static int touch(size_t mib) {
    char *at = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return -1;
    for (size_t i = 0; i < mib * MIB; i += 4096) at[i] = 1;
    return 0;
}
ACT(eat) { outcome(touch(number(argc, argv, 0))); }
/* P processes of N MiB each, all at once. */
ACT(eat_many) {
    size_t processes = number(argc, argv, 0), mib = number(argc, argv, 1);
    for (size_t i = 0; i < processes; i++)
        if (fork() == 0) { touch(mib); forever(); }
    while (wait(NULL) > 0) {}
    say("all ended");
}
static void pour(int fd, size_t mib) {
    static char block[1 << 20];
    memset(block, 1, sizeof block);
    size_t written = 0;
    while (written < mib * MIB) {
        ssize_t n = write(fd, block, sizeof block);
        if (n < 0) { printf("after %zu MiB ", written / MIB); refused(errno); return; }
        written += (size_t)n;
    }
    say("EFFECT");
}
ACT(memfd) {
    int fd = memfd_create("kavach", 0);
    if (fd < 0) refused(errno);
    else pour(fd, number(argc, argv, 0));
}
/* A memfd filled through a map and never written. */
ACT(memfd_mapped) {
    size_t size = number(argc, argv, 0) * MIB;
    int fd = memfd_create("kavach", 0);
    if (fd < 0 || ftruncate(fd, (off_t)size)) { refused(errno); return; }
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) { refused(errno); return; }
    for (size_t i = 0; i < size; i += 4096) at[i] = 1;
    say("EFFECT");
}
/* The same without a descriptor, and without a map where it is unmapped again. */
ACT(shared_unmapped) {
    size_t left = number(argc, argv, 0), part = 16;
    for (; left >= part; left -= part) {
        int id = shmget(IPC_PRIVATE, part * MIB, IPC_CREAT | 0600);
        char *at = id < 0 ? MAP_FAILED : shmat(id, NULL, 0);
        if (at == MAP_FAILED) { printf("%zu MiB left ", left); refused(errno); return; }
        for (size_t i = 0; i < part * MIB; i += 4096) at[i] = 1;
        shmdt(at);
        if (argc > 1) shmctl(id, IPC_RMID, NULL); /* a host's memory must be given back */
    }
    say("EFFECT");
}
/* Pipes as large as the kernel lets them be, all full: N MiB or as much as there is. With a second
 * number, in so many processes at once that stay. */
ACT(pipes) {
    static char block[1 << 20];
    for (size_t others = number(argc, argv, 1); others > 1; others--)
        if (fork() == 0) break;
    size_t most = number(argc, argv, 0) * MIB, held = 0;
    int ends[2], error = 0;
    while (held < most) {
        if (pipe2(ends, O_NONBLOCK)) { error = errno; break; }
        fcntl(ends[1], F_SETPIPE_SZ, MIB);
        for (ssize_t n; held < most && (n = write(ends[1], block, sizeof block)) > 0;) held += (size_t)n;
    }
    printf("%zu MiB ", held / MIB);
    if (error) refused(error);
    else say("EFFECT");
    if (argc > 1) forever();
}
/* Reads a file again and again: its pages are the kernel's, not the guest's. */
ACT(page_cache) {
    static char block[1 << 20];
    size_t most = number(argc, argv, 1) * MIB, read_so_far = 0;
    while (read_so_far < most) {
        int fd = open(argv[0], O_RDONLY);
        ssize_t n = fd < 0 ? -1 : 0;
        for (size_t before = read_so_far; fd >= 0 && (n = read(fd, block, sizeof block)) > 0 && read_so_far < most;)
            read_so_far += (size_t)n, (void)before;
        if (n < 0) { refused(errno); return; }
        close(fd);
    }
    say("EFFECT");
}
ACT(file) { pour(open(argv[0], O_CREAT | O_WRONLY, 0600), number(argc, argv, 1)); }
ACT(sparse) { outcome(ftruncate(open(argv[0], O_CREAT | O_WRONLY, 0600), (off_t)(number(argc, argv, 1) * MIB))); }
ACT(inodes) {
    size_t most = number(argc, argv, 1), i = 0;
    char name[256];
    for (; i < most; i++) {
        snprintf(name, sizeof name, "%s/i%zu", argv[0], i);
        int fd = open(name, O_CREAT | O_WRONLY, 0600);
        if (fd < 0) { refused(errno); return; }
        close(fd);
    }
    say("EFFECT");
}

/* Makes children that stay, says how many there are, and ends with them after a while. */
ACT(forks) {
    size_t most = number(argc, argv, 0), made = 0;
    int error = 0;
    for (; made < most; made++) {
        pid_t pid = fork();
        if (pid == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); forever(); }
        if (pid < 0) { error = errno; break; }
    }
    printf("%zu %s\n", made, error ? strerrorname_np(error) : "EFFECT");
    fflush(stdout);
    usleep((useconds_t)number(argc, argv, 1) * 1000); /* how long the crowd stays, in ms */
}
/* Forks without end, and each child does too. */
ACT(fork_bomb) { UNUSED; for (;;) fork(); }

static void *turn(void *nothing) { for (volatile long i = 0;; i++) {} return nothing; }
static void done(int signal) { (void)signal; _exit(0); }
/* T threads that spin, for S seconds of the wall clock or without end. */
ACT(spin) {
    if (argc > 1) {
        signal(SIGALRM, done);
        alarm((unsigned)number(argc, argv, 1));
    }
    for (size_t i = number(argc, argv, 0); i > 1; i--) {
        pthread_t thread;
        pthread_create(&thread, NULL, turn, NULL);
    }
    turn(NULL);
}

/* --- streams --- */
ACT(close_stdio) { UNUSED; close(0); close(1); close(2); forever(); }
static void flood(int mib, int out, int err) {
    static char block[1 << 16];
    memset(block, 'k', sizeof block);
    for (size_t i = 0; i < (size_t)mib * 16; i++) {
        if (out && write(1, block, sizeof block) < 0) exit(1);
        if (err && write(2, block, sizeof block) < 0) exit(1);
    }
}
ACT(flood_out) { flood((int)number(argc, argv, 0), 1, 0); }
ACT(flood_err) { flood((int)number(argc, argv, 0), 0, 1); }
ACT(flood_both) { flood((int)number(argc, argv, 0), 1, 1); }

/* --- processes that stay: argument 0 is the mark in their command line --- */
static void stay(char *mark) {
    execl("/proc/self/exe", "resources", "hold", mark, (char *)NULL);
    _exit(1);
}
ACT(hold) { UNUSED; signal(SIGTERM, SIG_IGN); signal(SIGHUP, SIG_IGN); forever(); }
/* A daemon as daemon(7) has it; standard streams kept where "keep" is given. */
static void make_daemon(int argc, char **argv) {
    if (argc < 1) exit(2);
    if (fork() == 0) {
        setsid();
        if (fork() == 0) {
            if (argc < 2) { close(0); close(1); close(2); }
            stay(argv[0]);
        }
        _exit(0);
    }
    wait(NULL);
}
ACT(daemonise) { make_daemon(argc, argv); say("daemon left"); }
ACT(daemonise_hold) { make_daemon(argc, argv); say("daemon left"); forever(); }
/* A timer that sends SIGCONT, and a line for each tick. */
static void tick(int signal) { (void)signal; ssize_t n = write(1, "tick\n", 5); (void)n; }
ACT(ticks) {
    UNUSED;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
    struct itimerspec every = {{0, 5000000}, {0, 5000000}};
    timer_t timer;
    signal(SIGCONT, tick);
    timer_create(CLOCK_MONOTONIC, &event, &timer);
    timer_settime(timer, 0, &every, NULL);
    forever();
}

/* --- out of the control group that holds it --- */
static long write_to(const char *file, const char *text) {
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    long written = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return written;
}
/* Moves itself into the group of each cgroup.procs that is named. */
ACT(leave) { for (int i = 0; i < argc; i++) outcome(write_to(argv[i], "0")); }
/* The same, and stays: argument 0 is the mark. */
ACT(leave_hold) {
    if (argc < 1) exit(2);
    for (int i = 1; i < argc; i++) outcome(write_to(argv[i], "0"));
    stay(argv[0]);
}
/* The same by mounts of its own, with the rights of a user namespace of its own; then N MiB. */
ACT(leave_by_mount) {
    outcome(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP));
    if (mount("none", "/tmp", "cgroup", 0, "memory") == 0) {
        write_to("/tmp/memory.limit_in_bytes", "-1");
        write_to("/tmp/cgroup.procs", "0");
    }
    /* Version 2 shows it the group that it is in, as the root. */
    if (mount("none", "/tmp", "cgroup2", 0, NULL) == 0) {
        write_to("/tmp/memory.max", "max");
        write_to("/tmp/cgroup.subtree_control", "+memory");
        if (mkdir("/tmp/own", 0755) == 0) write_to("/tmp/own/cgroup.procs", "0");
        write_to("/tmp/cgroup.procs", "0");
    }
    const char *mounts[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    for (int i = 0; i < 2; i++) {
        mount(NULL, mounts[i], NULL, MS_REMOUNT | MS_BIND, NULL);
        umount2(mounts[i], MNT_DETACH);
    }
    for (int i = 1; i < argc; i++) outcome(write_to(argv[i], "0"));
    outcome(touch(number(argc, argv, 0)));
}

int main(int argc, char **argv) {
#define A(name) {#name, name}
    static const struct act acts[] = {
        A(eat), A(eat_many), A(memfd), A(memfd_mapped), A(shared_unmapped), A(pipes), A(page_cache), A(file), A(sparse), A(inodes), A(forks), A(fork_bomb), A(spin),
        A(close_stdio), A(flood_out), A(flood_err), A(flood_both), A(hold), A(daemonise),
        A(daemonise_hold), A(ticks), A(leave), A(leave_hold), A(leave_by_mount), {NULL, NULL},
    };
    return dispatch(acts, argc, argv);
}
