/* Types a line into the terminal of this name, if the kernel lets it. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int argc, char **argv) {
    const char *line = "typed\n";
    int fd = open(argc > 1 ? argv[1] : "/dev/tty", O_RDWR | O_NOCTTY);
    if (fd < 0) return perror("open"), 1;
    for (; *line; line++)
        if (ioctl(fd, TIOCSTI, line) < 0) return perror("TIOCSTI"), 1;
    return 0;
}
