/* What every hostile guest shares. A guest does one act and says on one line how it went:
 * "EFFECT" where the kernel let it, "errno NAME" where it did not. */
#ifndef GUEST_H
#define GUEST_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct act {
    const char *name;
    void (*run)(int argc, char **argv);
};

static inline void say(const char *text) {
    printf("%s\n", text);
    fflush(stdout);
}

static inline void refused(int error) {
    printf("errno %s\n", strerrorname_np(error));
    fflush(stdout);
}

/* The usual ending: a result below zero is a refusal with errno. */
static inline void outcome(long result) {
    if (result < 0)
        refused(errno);
    else
        say("EFFECT");
}

static inline int dispatch(const struct act *acts, int argc, char **argv) {
    for (; argc > 1 && acts->name; acts++) {
        if (strcmp(acts->name, argv[1]) == 0) {
            acts->run(argc - 2, argv + 2);
            return 0;
        }
    }
    fprintf(stderr, "no such act: %s\n", argc > 1 ? argv[1] : "(none)");
    return 2;
}
#endif
