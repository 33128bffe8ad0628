/* Guests with a terminal. */
#include "guest.h"
#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#define ACT(name) static void name(int argc, char **argv)
#define UNUSED (void)argc, (void)argv

/* What this process knows of its terminal: one word each. */
ACT(about) {
    UNUSED;
    struct winsize size = {0};
    struct stat stat = {0};
    const char *name = ttyname(0);
    ioctl(0, TIOCGWINSZ, &size);
    fstat(0, &stat);
    int again = open("/dev/tty", O_RDWR);
    printf("%s %s%s%s %s %s %s %ux%u tty:%s", name && strncmp(name, "/dev/pts/", 9) == 0 ? "named" : "nameless",
           isatty(0) ? "0" : "", isatty(1) ? "1" : "", isatty(2) ? "2" : "",
           getsid(0) == getpid() ? "leads" : "follows",
           tcgetpgrp(0) == getpgrp() ? "foreground" : "background",
           stat.st_uid == getuid() && (stat.st_mode & 07) == 0 ? "own" : "another's", size.ws_row, size.ws_col,
           again < 0 ? strerrorname_np(errno) : "opens");
    close(again);
    /* Every descriptor but the one of this directory. */
    DIR *dir = opendir("/proc/self/fd");
    printf(" open:");
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir)) printf("%s", entry->d_name);
    say("");
}
/* Types into its own terminal and reads it back. */
ACT(sti) {
    UNUSED;
    char line[8] = {0};
    for (const char *key = "x\n"; *key; key++)
        if (ioctl(0, TIOCSTI, key) < 0) { refused(errno); return; }
    outcome(read(0, line, sizeof line) == 2 && line[0] == 'x' ? 0 : -1);
}
/* Makes N terminals and holds them until a line is typed. */
ACT(many) {
    int most = argc > 0 ? atoi(argv[0]) : 0, i = 0, error = 0;
    for (; i < most; i++)
        if (posix_openpt(O_RDWR | O_NOCTTY) < 0) { error = errno; break; }
    printf("%d ", i);
    if (error) refused(error);
    else say("EFFECT");
    getchar();
}
/* Writes without end; with "deaf", whatever it is asked; with "stopped", while its terminal holds
 * output back. */
ACT(flood) {
    static char block[4096];
    memset(block, 'x', sizeof block);
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "deaf") == 0)
            for (int s = 1; s < 32; s++) signal(s, SIG_IGN);
        if (strcmp(argv[i], "stopped") == 0) tcflow(0, TCOOFF);
    }
    for (;;) {
        ssize_t n = write(1, block, sizeof block);
        (void)n;
    }
}
/* Leaves a process behind that writes to the terminal without end, and exits. */
ACT(flood_behind) {
    UNUSED;
    if (fork() == 0) {
        signal(SIGHUP, SIG_IGN);
        flood(0, NULL);
    }
    say("left");
}
/* Settings as unlike those of a new terminal as can be. */
ACT(spoil) {
    UNUSED;
    struct termios settings;
    tcgetattr(0, &settings);
    cfmakeraw(&settings);
    settings.c_cc[VEOF] = 'q';
    settings.c_cc[VINTR] = 'r';
    tcsetattr(0, TCSANOW, &settings);
    say("spoilt");
    raise(SIGKILL);
}

int main(int argc, char **argv) {
#define A(name) {#name, name}
    static const struct act acts[] = {A(about), A(sti), A(many), A(flood), A(flood_behind), A(spoil), {NULL, NULL}};
    return dispatch(acts, argc, argv);
}
