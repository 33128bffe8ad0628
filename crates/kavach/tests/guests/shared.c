/* What a guest may try in a directory that it shares with the host. Paths are arguments. */
#include "guest.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define ACT(name) static void name(int argc, char **argv)
#define NEED(n) if (argc < (n)) exit(2)

/* A second name of a file: by its path, and by a descriptor of it. */
ACT(hard_link) { NEED(2); outcome(link(argv[0], argv[1])); }
ACT(hard_link_fd) {
    NEED(2);
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", open(argv[0], O_PATH));
    outcome(linkat(AT_FDCWD, name, AT_FDCWD, argv[1], AT_SYMLINK_FOLLOW));
}
ACT(move) { NEED(2); outcome(rename(argv[0], argv[1])); }

/* A name that host programs could connect to, or open. */
ACT(bind_socket) {
    NEED(1);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[0], sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) { refused(errno); return; }
    outcome(bind(fd, (struct sockaddr *)&address, sizeof address));
}
ACT(make_socket) { NEED(1); outcome(mknod(argv[0], S_IFSOCK | 0666, 0)); }
ACT(make_pipe) { NEED(1); outcome(mknod(argv[0], S_IFIFO | 0666, 0)); }
ACT(make_char) { NEED(1); outcome(mknod(argv[0], S_IFCHR | 0666, makedev(1, 3))); }
ACT(make_block) { NEED(1); outcome(mknod(argv[0], S_IFBLK | 0666, makedev(7, 0))); }
/* The mark of a deletion in an overlay: the kernel lets anybody make it. */
ACT(make_whiteout) { NEED(1); outcome(mknod(argv[0], S_IFCHR, 0)); }

/* What is behind a device node that the host has there. */
ACT(use_device) { NEED(1); outcome(open(argv[0], O_RDWR)); }

/* A file without a name that gets one afterwards. */
ACT(temporary_setuid) {
    NEED(1);
    int fd = open(argv[0], O_TMPFILE | O_RDWR, 04755);
    outcome(fd);
}

/* A program changed without a write(2). */
ACT(change_mapped) {
    NEED(1);
    int fd = open(argv[0], O_RDWR);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) { refused(errno); return; }
    map[1000] ^= 1;
    outcome(msync(map, 4096, MS_SYNC));
}

/* A file of the host by its handle, around every path. */
ACT(by_handle) {
    NEED(1);
    struct { struct file_handle h; char room[128]; } handle = {.h = {.handle_bytes = 128}};
    int id;
    if (name_to_handle_at(AT_FDCWD, argv[0], &handle.h, &id, 0)) { handle.h.handle_bytes = 8; handle.h.handle_type = 1; }
    outcome(open_by_handle_at(open(argv[0], O_RDONLY), &handle.h, O_RDONLY));
}

/* The mark that overlayfs itself uses for "this directory hides the one below". */
ACT(own_mark) { NEED(1); outcome(syscall(SYS_setxattr, argv[0], "user.overlay.opaque", "y", 1UL, 0UL)); }

int main(int argc, char **argv) {
#define A(name) {#name, name}
    static const struct act acts[] = {
        A(hard_link), A(hard_link_fd), A(move), A(bind_socket), A(make_socket), A(make_pipe), A(make_char),
        A(make_block), A(make_whiteout), A(use_device), A(temporary_setuid), A(change_mapped), A(by_handle), A(own_mark), {NULL, NULL},
    };
    return dispatch(acts, argc, argv);
}
