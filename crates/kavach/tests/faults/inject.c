/* inject LOG PROGRAM ARG...
 *
 * Runs a program under ptrace(2) and makes one system call fail. The program arms it by looking
 * for files that are not there (a call that safe code can make, with a text in it):
 *
 *   /.kavach-inject/arm/host/ERRNO/N    the N-th call of its own threads that can fail so
 *   /.kavach-inject/arm/agent/ERRNO/N   the N-th call of the processes that it starts from now
 *                                       on, up to the program that a guest is
 *   /.kavach-inject/end                 no more; ENOENT if a call was made to fail, else ENOTDIR
 *
 * The call is not made. LOG holds the name of the last one that failed. Counted are only calls
 * that answer with that error in real life (see `can_fail`): a test that invents answers proves
 * nothing, and no program stands an epoll_wait(2) without memory.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define MARK "/.kavach-inject/"

/* What is known of a traced task. `none`: the slot is free. */
enum kind { none, host_thread, agent_task };

static struct task {
	pid_t tid;
	enum kind kind;
	int stopped_once; /* its first SIGSTOP is from the kernel, for us */
	int executed;     /* it, or its parent, has executed the agent */
	int pending;      /* what its call returns, when it does; INT_MAX: as it is */
} tasks[4096];

static pid_t host;
static const char *log_path;
static enum kind who;
static int error;
static long wanted, seen;
static int fired;

static const int as_it_is = 1 << 30;

static struct task *task_of(pid_t tid)
{
	struct task *free_slot = NULL;
	for (struct task *t = tasks; t < tasks + 4096; t++) {
		if (t->kind != none && t->tid == tid)
			return t;
		if (t->kind == none && !free_slot)
			free_slot = t;
	}
	if (!free_slot) {
		fprintf(stderr, "inject: too many tasks\n");
		exit(3);
	}
	memset(free_slot, 0, sizeof *free_slot);
	free_slot->tid = tid;
	free_slot->pending = as_it_is;
	return free_slot;
}

static pid_t group_of(pid_t tid)
{
	char path[64], line[256];
	pid_t group = -1;
	snprintf(path, sizeof path, "/proc/%d/status", tid);
	FILE *f = fopen(path, "re");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "Tgid: %d", &group) == 1)
			break;
	if (f)
		fclose(f);
	return group;
}

static int is_one_of(long nr, ...)
{
	va_list list;
	long n;
	int found = 0;
	va_start(list, nr);
	while ((n = va_arg(list, long)) != -1)
		found |= n == nr;
	va_end(list);
	return found;
}
#define ONE_OF(nr, ...) is_one_of(nr, ##__VA_ARGS__, -1L)

/* What a descriptor of a task is open on. */
static void target(pid_t tid, unsigned long fd, char *to, size_t size)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/fd/%lu", tid, fd);
	ssize_t n = readlink(path, to, size - 1);
	to[n > 0 ? n : 0] = 0;
}

/* Calls of every program, kavach's agent too, that answer so in real life (section ERRORS of
 * their pages; memory inside the kernel may be short in nearly all that make something). */
static int can_fail(pid_t tid, long nr, const unsigned long *args)
{
	char on[256] = "";
	int is_open = ONE_OF(nr, (long)SYS_open, (long)SYS_openat, (long)SYS_openat2);
	int is_io = ONE_OF(nr, (long)SYS_read, (long)SYS_write, (long)SYS_pread64, (long)SYS_pwrite64,
			   (long)SYS_recvmsg, (long)SYS_sendmsg, (long)SYS_readv, (long)SYS_writev,
			   (long)SYS_recvfrom, (long)SYS_sendto);
	int makes_fd = is_open || ONE_OF(nr, (long)SYS_socketpair, (long)SYS_socket, (long)SYS_pipe2,
					 (long)SYS_pipe, (long)SYS_epoll_create1, (long)SYS_eventfd2,
					 (long)SYS_memfd_create, (long)SYS_pidfd_open, (long)SYS_dup,
					 (long)SYS_timerfd_create) ||
		       (nr == SYS_fcntl && (args[1] == F_DUPFD || args[1] == F_DUPFD_CLOEXEC));
	int makes_task = ONE_OF(nr, (long)SYS_clone, (long)SYS_clone3, (long)SYS_fork, (long)SYS_vfork);
	int makes_name = ONE_OF(nr, (long)SYS_mkdir, (long)SYS_mkdirat, (long)SYS_symlink,
				(long)SYS_symlinkat, (long)SYS_link, (long)SYS_linkat, (long)SYS_rename,
				(long)SYS_renameat, (long)SYS_renameat2, (long)SYS_mknod,
				(long)SYS_mknodat, (long)SYS_setxattr, (long)SYS_fsetxattr);
	int looks = ONE_OF(nr, (long)SYS_statx, (long)SYS_newfstatat, (long)SYS_stat, (long)SYS_lstat,
			   (long)SYS_readlink, (long)SYS_readlinkat, (long)SYS_getdents64,
			   (long)SYS_statfs, (long)SYS_fstatfs, (long)SYS_getxattr, (long)SYS_lgetxattr,
			   (long)SYS_fgetxattr, (long)SYS_listxattr, (long)SYS_flistxattr,
			   (long)SYS_llistxattr);
	if (is_io) {
		target(tid, args[0], on, sizeof on);
		/* The waker of an event loop: never full, never interrupted. */
		if (strstr(on, "[eventfd]") || strstr(on, "[eventpoll]") || strstr(on, "[timerfd]"))
			return 0;
	}
	switch (error) {
	case EINTR:
		return is_io || is_open || ONE_OF(nr, (long)SYS_wait4, (long)SYS_waitid, (long)SYS_poll,
						  (long)SYS_ppoll, (long)SYS_epoll_wait,
						  (long)SYS_epoll_pwait, (long)SYS_epoll_pwait2,
						  (long)SYS_connect, (long)SYS_flock, (long)SYS_fsync,
						  (long)SYS_copy_file_range, (long)SYS_ftruncate,
						  (long)SYS_fallocate, (long)SYS_nanosleep,
						  (long)SYS_clock_nanosleep);
	case EAGAIN:
		return makes_task;
	case EMFILE:
		return makes_fd;
	case ENOMEM:
		/* Not the program's own memory: to abort without it is the program's choice. */
		return makes_fd || makes_task || makes_name || looks ||
		       ONE_OF(nr, (long)SYS_epoll_ctl, (long)SYS_execve, (long)SYS_sendmsg,
			      (long)SYS_recvmsg, (long)SYS_unlink, (long)SYS_unlinkat, (long)SYS_rmdir,
			      (long)SYS_mount, (long)SYS_umount2, (long)SYS_unshare, (long)SYS_setns,
			      (long)SYS_pivot_root, (long)SYS_chdir, (long)SYS_fchdir, (long)SYS_chown,
			      (long)SYS_fchown, (long)SYS_fchownat, (long)SYS_chmod, (long)SYS_fchmod,
			      (long)SYS_fchmodat, (long)SYS_seccomp, (long)SYS_capset, (long)SYS_setuid,
			      (long)SYS_setresuid, (long)SYS_setresgid, (long)SYS_setgroups,
			      (long)SYS_flock, (long)SYS_fsync, (long)SYS_ftruncate,
			      428L /* open_tree */, 429L /* move_mount */, 430L /* fsopen */,
			      431L /* fsconfig */, 432L /* fsmount */, 442L /* mount_setattr */,
			      444L, 445L, 446L /* landlock */) ||
		       (is_io && strncmp(on, "/proc/", 6) == 0) ||
		       (is_io && strncmp(on, "/sys/fs/cgroup/", 15) == 0);
	case ENOSPC:
		return makes_name || nr == SYS_ftruncate || nr == SYS_epoll_ctl ||
		       (nr == SYS_openat && args[2] & O_CREAT) || (nr == SYS_open && args[1] & O_CREAT) ||
		       (nr == SYS_write && on[0] == '/');
	case EIO:
		return (is_io && on[0] == '/') || ONE_OF(nr, (long)SYS_fsync, (long)SYS_getdents64);
	default:
		/* ENOSYS, EPERM: a filter around the program, or an older kernel. Not a look at a
		 * path: that it may not be seen is an answer. */
		return ONE_OF(nr, (long)SYS_memfd_create, (long)SYS_renameat2,
			      (long)SYS_openat2, (long)SYS_pidfd_open, (long)SYS_clone3, (long)SYS_seccomp,
			      (long)SYS_copy_file_range, 436L /* close_range */, 428L, 429L, 430L, 431L,
			      432L, 442L, 444L, 445L, 446L, 439L /* faccessat2 */, 452L /* fchmodat2 */,
			      424L /* pidfd_send_signal */, (long)SYS_unshare, (long)SYS_setns,
			      (long)SYS_mount, (long)SYS_umount2, (long)SYS_pivot_root,
			      (long)SYS_sethostname, (long)SYS_setgroups, (long)SYS_setresuid,
			      (long)SYS_setresgid, (long)SYS_capset, (long)SYS_prctl,
			      /* Reading its own limits is refused to nobody. */
			      who == host_thread ? -2L : (long)SYS_prlimit64, (long)SYS_setrlimit, (long)SYS_keyctl, (long)SYS_chmod, (long)SYS_fchmodat,
			      (long)SYS_fchownat, (long)SYS_setsid, (long)SYS_ioctl, (long)SYS_flock);
	}
}

static int text_of(pid_t tid, unsigned long at, char *to, size_t size)
{
	struct iovec ours = { to, size - 1 }, theirs = { (void *)at, size - 1 };
	ssize_t n = process_vm_readv(tid, &ours, 1, &theirs, 1, 0);
	if (n < 0) {
		/* Up to the end of the page. */
		theirs.iov_len = 4096 - at % 4096;
		if (theirs.iov_len > size - 1)
			theirs.iov_len = size - 1;
		n = process_vm_readv(tid, &ours, 1, &theirs, 1, 0);
	}
	to[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* The call is not made, and returns `answer`. */
static void answer(struct task *t, int answer)
{
	ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.orig_rax), -1L);
	t->pending = answer;
}

static void note(struct task *t, long nr, const unsigned long *args)
{
	char on[256] = "", at[256] = "";
	target(t->tid, args[0], on, sizeof on);
	for (int i = 0; i < 2 && at[0] != '/'; i++)
		if (args[i] > 4096)
			text_of(t->tid, args[i], at, sizeof at);
	int fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	dprintf(fd, "call %ld on %.80s %.80s", nr, on, at[0] == '/' ? at : "");
	close(fd);
}

/* A text of the program to us; false if it is none. */
static int told(struct task *t, long nr, const unsigned long *args)
{
	char path[128];
	unsigned long at = nr == SYS_statx || nr == SYS_newfstatat ? args[1]
			   : nr == SYS_stat || nr == SYS_lstat	   ? args[0]
								   : 0;
	if (!at || !text_of(t->tid, at, path, sizeof path) || strncmp(path, MARK, strlen(MARK)))
		return 0;
	char name[16];
	if (sscanf(path, MARK "arm/%15[a-z]/%d/%ld", name, &error, &wanted) == 3) {
		who = strcmp(name, "host") == 0 ? host_thread : agent_task;
		seen = fired = 0;
		answer(t, -ENOENT);
	} else {
		who = none;
		answer(t, fired ? -ENOENT : -ENOTDIR);
	}
	return 1;
}

static void entered(struct task *t, const struct __ptrace_syscall_info *info)
{
	unsigned long args[6];
	long nr = info->entry.nr;
	for (int i = 0; i < 6; i++)
		args[i] = info->entry.args[i];
	if (t->kind == host_thread && told(t, nr, args))
		return;
	if (who == none || who != t->kind || fired || !can_fail(t->tid, nr, args))
		return;
	if (++seen == wanted) {
		fired = 1;
		note(t, nr, args);
		answer(t, -error);
	}
}

/* What follows a stop of a task. */
static void go_on(struct task *t, int status)
{
	int signal = WSTOPSIG(status), event = status >> 16;
	struct __ptrace_syscall_info info;

	if (signal == (SIGTRAP | 0x80)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, t->tid, sizeof info, &info) < 0)
			return;
		if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
			entered(t, &info);
		} else if (t->pending != as_it_is) {
			ptrace(PTRACE_POKEUSER, t->tid, offsetof(struct user, regs.rax), (long)t->pending);
			t->pending = as_it_is;
		}
		signal = 0;
	} else if (event == PTRACE_EVENT_EXEC) {
		if (t->kind == agent_task && t->executed) {
			/* The program of a guest: not the subject. */
			ptrace(PTRACE_DETACH, t->tid, 0, 0);
			t->kind = none;
			return;
		}
		t->executed = 1;
		signal = 0;
	} else if (event) {
		unsigned long born = 0;
		ptrace(PTRACE_GETEVENTMSG, t->tid, 0, &born);
		if (event != PTRACE_EVENT_EXIT && born && t->kind == agent_task && t->executed) {
			struct task *child = task_of((pid_t)born);
			if (child->kind == none)
				child->kind = agent_task;
			child->executed = 1;
		}
		signal = 0;
	} else if (signal == SIGSTOP && !t->stopped_once) {
		t->stopped_once = 1;
		signal = 0;
		if (t->kind == agent_task && who != agent_task) {
			ptrace(PTRACE_DETACH, t->tid, 0, 0);
			t->kind = none;
			return;
		}
	}
	ptrace(PTRACE_SYSCALL, t->tid, 0, (long)signal);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	log_path = argv[1];
	host = fork();
	if (host == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(argv[2], argv + 2);
		_exit(127);
	}
	int status;
	waitpid(host, &status, 0);
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
		       PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
	if (ptrace(PTRACE_SETOPTIONS, host, 0, options) < 0) {
		perror("inject: ptrace");
		return 3;
	}
	struct task *first = task_of(host);
	first->kind = host_thread;
	first->stopped_once = 1;
	ptrace(PTRACE_SYSCALL, host, 0, 0);

	for (;;) {
		pid_t tid = waitpid(-1, &status, __WALL);
		if (tid < 0)
			return 3;
		if (!WIFSTOPPED(status)) {
			if (tid == host)
				return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			task_of(tid)->kind = none;
			continue;
		}
		struct task *t = task_of(tid);
		if (t->kind == none)
			t->kind = group_of(tid) == host ? host_thread : agent_task;
		go_on(t, status);
	}
}
