/* Doors into the kernel. Where an act would change the host in the positive control, it first
 * steps into a namespace of its own (refused inside a sandbox, and ignored), or asks for something
 * that is checked only after the right to ask. */
#include "guest.h"
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>

#define ACT(name) static void name(int argc, char **argv)
#define UNUSED (void)argc, (void)argv

static void own(int flags) {
    if (unshare(flags) == 0 && (flags & CLONE_NEWNS) && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        exit(3); /* what follows would reach the host's mounts */
}

/* --- other ways to make a system call --- */
ACT(int80) {
    UNUSED;
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory"); /* getpid of i386 */
    errno = (int)-result;
    outcome(result < 0 ? -1 : 0);
}
ACT(x32) { UNUSED; outcome(syscall(0x40000000L | SYS_getpid)); }

/* --- terminals --- */
static int own_terminal(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) return -1;
    char name[64];
    if (ptsname_r(master, name, sizeof name)) return -1;
    if (fork() != 0) { wait(NULL); exit(0); }
    setsid();
    return open(name, O_RDWR); /* becomes the controlling terminal */
}
static void terminal(unsigned long request) {
    int fd = own_terminal();
    char byte[2] = {3, 'x'};
    if (fd < 0) { say("no terminal"); return; }
    outcome(syscall(SYS_ioctl, fd, request, (uint32_t)request == TIOCSTI ? byte + 1 : byte));
}
ACT(tiocsti) { UNUSED; terminal(TIOCSTI); }
ACT(tiocsti_high) { UNUSED; terminal(TIOCSTI | 0x100000000UL); }
ACT(tioclinux) { UNUSED; terminal(TIOCLINUX); }
ACT(tioclinux_high) { UNUSED; terminal(TIOCLINUX | 0x100000000UL); }

/* --- namespaces --- */
static void by_clone3(uint64_t flags) {
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(0);
    outcome(pid);
}
ACT(clone3_newuser) { UNUSED; by_clone3(CLONE_NEWUSER); }
ACT(clone3_newns) { UNUSED; by_clone3(CLONE_NEWNS); }
ACT(clone3_newpid) { UNUSED; by_clone3(CLONE_NEWPID); }
ACT(clone3_newnet) { UNUSED; by_clone3(CLONE_NEWNET); }
ACT(clone3_newipc) { UNUSED; by_clone3(CLONE_NEWIPC); }
ACT(clone3_newuts) { UNUSED; by_clone3(CLONE_NEWUTS); }
ACT(clone3_newcgroup) { UNUSED; by_clone3(CLONE_NEWCGROUP); }
/* libc asks for clone3 first and falls back. */
static void *nothing(void *argument) { return argument; }
ACT(thread) {
    UNUSED;
    pthread_t thread;
    errno = pthread_create(&thread, NULL, nothing, NULL);
    outcome(errno ? -1 : pthread_join(thread, NULL));
}
ACT(clone_newuser) {
    UNUSED;
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    outcome(pid);
}
ACT(unshare_newuser) { UNUSED; outcome(unshare(CLONE_NEWUSER)); }
ACT(unshare_newnet) { UNUSED; outcome(unshare(CLONE_NEWNET)); }
ACT(unshare_newns) { UNUSED; outcome(unshare(CLONE_NEWNS)); }
ACT(setns_uts) {
    UNUSED;
    int fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
    outcome(fd < 0 ? -1 : setns(fd, CLONE_NEWUTS));
}

/* --- subsystems with a large attack surface --- */
ACT(io_uring) {
    UNUSED;
    struct io_uring_params params = {0};
    outcome(syscall(SYS_io_uring_setup, 4, &params));
}
ACT(keyctl_session) { UNUSED; outcome(syscall(SYS_keyctl, 0L, -3L, 1L)); }
ACT(add_key) { UNUSED; outcome(syscall(SYS_add_key, "user", "kavach", "x", 1L, -2L)); }
ACT(request_key) { UNUSED; outcome(syscall(SYS_request_key, "user", "kavach-none", NULL, 0L)); }
/* A key of the user's own keyring, which every process of the user can name: left for a minute,
 * found by its name, forgotten. */
ACT(key_leave) {
    (void)argc;
    long key = syscall(SYS_add_key, "user", argv[0], "secret", 6L, -4L);
    outcome(key < 0 ? -1 : syscall(SYS_keyctl, 15L /* SET_TIMEOUT */, key, 60L));
}
ACT(key_find) { (void)argc; outcome(syscall(SYS_keyctl, 10L /* SEARCH */, -4L, "user", argv[0], 0L)); }
ACT(bpf_map) {
    UNUSED;
    union bpf_attr attr = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    outcome(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr));
}
ACT(perf) {
    UNUSED;
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof attr, .config = PERF_COUNT_SW_TASK_CLOCK};
    outcome(syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0));
}
ACT(uffd) { UNUSED; outcome(syscall(SYS_userfaultfd, O_CLOEXEC)); }

/* --- mounts and roots --- */
ACT(mount_tmpfs) { UNUSED; own(CLONE_NEWNS); outcome(mount("none", "/tmp", "tmpfs", 0, NULL)); }
ACT(remount_rw) { UNUSED; own(CLONE_NEWNS); outcome(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL)); }
ACT(fsopen_tmpfs) { UNUSED; own(CLONE_NEWNS); outcome(syscall(SYS_fsopen, "tmpfs", 0)); }
ACT(clone_tree) { UNUSED; own(CLONE_NEWNS); outcome(syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* CLONE */)); }
ACT(umount_proc) { UNUSED; own(CLONE_NEWNS); outcome(umount2("/proc", MNT_DETACH)); }
ACT(pivot) { UNUSED; own(CLONE_NEWNS); outcome(syscall(SYS_pivot_root, "/", "/")); }
ACT(chroot_root) { UNUSED; outcome(chroot("/")); }
ACT(mount_attr) {
    UNUSED;
    uint64_t attributes[4] = {0, 1 /* RDONLY */, 0, 0};
    own(CLONE_NEWNS);
    outcome(syscall(442 /* mount_setattr */, AT_FDCWD, "/", 0, attributes, sizeof attributes));
}
ACT(move_tree) {
    UNUSED;
    own(CLONE_NEWNS);
    outcome(syscall(429 /* move_mount */, AT_FDCWD, "/proc", AT_FDCWD, "/tmp", 0));
}
/* The file whose program the host's root runs when a group empties (CVE-2022-0492), on a mount of
 * its own. Opened and not written. */
ACT(release_agent) {
    UNUSED;
    if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWCGROUP)) {
        refused(errno);
        return;
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", "/tmp", "cgroup", 0, "memory")) {
        refused(errno);
        return;
    }
    outcome(open("/tmp/release_agent", O_WRONLY));
}
ACT(by_handle) {
    UNUSED;
    struct { struct file_handle h; char room[128]; } handle = {.h = {.handle_bytes = 128}};
    int id;
    if (name_to_handle_at(AT_FDCWD, "/usr", &handle.h, &id, 0)) { handle.h.handle_bytes = 8; handle.h.handle_type = 1; }
    int root = open("/usr", O_RDONLY | O_DIRECTORY);
    outcome(open_by_handle_at(root, &handle.h, O_RDONLY));
}

/* --- the machine --- */
ACT(swap_on) { UNUSED; outcome(swapon("/nonexistent", 0)); }
ACT(swap_off) { UNUSED; outcome(swapoff("/nonexistent")); }
ACT(quota_sync) { UNUSED; outcome(quotactl(QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL)); }
ACT(accounting) { UNUSED; outcome(acct("/nonexistent")); }
/* Writes back what it has just read. */
ACT(adjust_time) {
    UNUSED;
    struct timex now = {0};
    adjtimex(&now);
    now.modes = ADJ_STATUS;
    outcome(adjtimex(&now));
}
ACT(domain_name) { UNUSED; own(CLONE_NEWUTS); outcome(setdomainname("taken", 5)); }
ACT(kexec_file) { UNUSED; outcome(syscall(SYS_kexec_file_load, -1, -1, 0UL, NULL, 0UL)); }
ACT(module_file) { UNUSED; outcome(syscall(SYS_finit_module, -1, "", 0)); }
ACT(set_time) { UNUSED; outcome(syscall(SYS_settimeofday, NULL, NULL)); }
ACT(host_name) { UNUSED; own(CLONE_NEWUTS); outcome(sethostname("taken", 5)); }
ACT(kexec) { UNUSED; outcome(syscall(SYS_kexec_load, 0UL, 0UL, NULL, ~0UL)); }
ACT(module_load) { UNUSED; outcome(syscall(SYS_init_module, "not a module", 12UL, "")); }
ACT(module_unload) { UNUSED; outcome(syscall(SYS_delete_module, "kavach_none", O_NONBLOCK)); }
ACT(reboot_bad) { UNUSED; outcome(syscall(SYS_reboot, 0, 0, 0, NULL)); }
ACT(ports) { UNUSED; outcome(iopl(3)); }
ACT(kernel_log) {
    UNUSED;
    static char text[1 << 16];
    outcome(klogctl(3 /* READ_ALL */, text, sizeof text));
}
ACT(nice_up) { UNUSED; outcome(syscall(SYS_setpriority, 0, 0, -5)); }

/* --- devices, files outside, descriptors --- */
ACT(mknod_block) { UNUSED; outcome(mknod("/tmp/kavach-block", S_IFBLK | 0600, makedev(8, 0))); unlink("/tmp/kavach-block"); }
ACT(mknod_char) { UNUSED; outcome(mknod("/tmp/kavach-char", S_IFCHR | 0600, makedev(1, 1))); unlink("/tmp/kavach-char"); }
ACT(open_write) { (void)argc; outcome(open(argv[0], O_WRONLY)); }
ACT(set_uid) { UNUSED; outcome(setresuid(0, 0, 0)); }
ACT(fds) {
    UNUSED;
    for (int fd = 0; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0) printf("%d ", fd);
    say("");
}

/* --- sockets that are no internet sockets --- */
ACT(netlink) { UNUSED; outcome(socket(AF_NETLINK, SOCK_RAW, 0)); }
ACT(packet) { UNUSED; outcome(socket(AF_PACKET, SOCK_RAW, 0)); }
ACT(raw_ip) { UNUSED; outcome(socket(AF_INET, SOCK_RAW, 1)); }
ACT(vsock) { UNUSED; outcome(socket(AF_VSOCK, SOCK_STREAM, 0)); }

int main(int argc, char **argv) {
#define A(name) {#name, name}
    static const struct act acts[] = {
        A(int80), A(x32), A(tiocsti), A(tiocsti_high), A(tioclinux), A(tioclinux_high), A(clone3_newuser),
        A(clone3_newns), A(clone3_newpid), A(clone3_newnet), A(clone3_newipc), A(clone3_newuts),
        A(clone3_newcgroup), A(thread), A(key_leave), A(key_find), A(mount_attr), A(move_tree), A(release_agent),
        A(swap_off), A(quota_sync), A(accounting), A(adjust_time), A(domain_name), A(kexec_file), A(module_file),
        A(clone_newuser),
        A(unshare_newuser), A(unshare_newnet), A(unshare_newns), A(setns_uts), A(io_uring), A(keyctl_session),
        A(add_key), A(request_key), A(bpf_map), A(perf), A(uffd), A(mount_tmpfs), A(remount_rw),
        A(fsopen_tmpfs), A(clone_tree), A(umount_proc), A(pivot), A(chroot_root), A(by_handle), A(swap_on),
        A(set_time), A(host_name), A(kexec), A(module_load), A(module_unload), A(reboot_bad), A(ports),
        A(kernel_log), A(nice_up), A(mknod_block), A(mknod_char), A(open_write), A(set_uid),
        A(fds), A(netlink), A(packet), A(raw_ip), A(vsock), {NULL, NULL},
    };
    return dispatch(acts, argc, argv);
}
