/* Every call that could leave a file with the setuid or setgid bit: arguments are the way, the
 * mode in octal and a directory that can be written. Says EFFECT only when the bit is really on
 * the file. */
#include "guest.h"
#include <linux/openat2.h>
#include <sys/stat.h>

static const char *path;
static mode_t mode;

static long make(void) { return close(open(path, O_CREAT | O_WRONLY, 0600)); }
static long by_chmod(void) { make(); return syscall(SYS_chmod, path, mode); }
static long by_fchmod(void) { make(); return syscall(SYS_fchmod, open(path, O_RDONLY), mode); }
static long by_fchmodat(void) { make(); return syscall(SYS_fchmodat, AT_FDCWD, path, mode); }
static long by_fchmodat2(void) { make(); return syscall(452, AT_FDCWD, path, mode, 0); }
static long by_open(void) { return syscall(SYS_open, path, O_CREAT | O_WRONLY, mode); }
static long by_openat(void) { return syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, mode); }
static long by_creat(void) { return syscall(SYS_creat, path, mode); }
static long by_mknod(void) { return syscall(SYS_mknod, path, S_IFREG | mode, 0); }
static long by_mknodat(void) { return syscall(SYS_mknodat, AT_FDCWD, path, S_IFREG | mode, 0); }
static long by_openat2(void) {
    struct open_how how = {.flags = O_CREAT | O_WRONLY, .mode = mode};
    return syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}

int main(int argc, char **argv) {
    static const struct { const char *name; long (*run)(void); } ways[] = {
        {"chmod", by_chmod}, {"fchmod", by_fchmod}, {"fchmodat", by_fchmodat},
        {"fchmodat2", by_fchmodat2}, {"open", by_open}, {"openat", by_openat}, {"creat", by_creat},
        {"mknod", by_mknod}, {"mknodat", by_mknodat}, {"openat2", by_openat2},
    };
    if (argc < 4) return 2;
    mode = (mode_t)strtol(argv[2], NULL, 8);
    char name[512];
    snprintf(name, sizeof name, "%s/kavach-setuid-%d", argv[3], getpid());
    path = name;
    umask(0);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(ways[i].name, argv[1]) != 0) continue;
        errno = 0;
        long result = ways[i].run();
        int error = errno;
        struct stat st;
        if (stat(path, &st) == 0 && (st.st_mode & 06000) != 0) say("EFFECT");
        else if (result < 0) refused(error);
        else say("done without the bit");
        if (remove(path) && errno != ENOENT) say("not removed");
        return 0;
    }
    return 2;
}
