/* Loaded before any other library (LD_PRELOAD), it troubles the program in one way, which
 * KAVACH_SHIM names:
 *
 * signals   A thread sends the process signals without a pause, to whichever thread the kernel
 *           chooses and to each of them in turn. Their handlers are installed without SA_RESTART,
 *           so that every call that a signal can interrupt is interrupted.
 * clock     The wall clock (CLOCK_REALTIME) jumps by up to a year at every look, there and back.
 *           This is all that a process sees of somebody setting the clock, but for timers that
 *           are set on that clock; a test says that kavach has none.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const int storm[] = { SIGCHLD, SIGUSR1, SIGALRM, SIGWINCH, SIGCONT, SIGUSR2, SIGURG, SIGIO };
enum { kinds = sizeof storm / sizeof *storm };

static atomic_ulong caught;

static void handler(int signal)
{
	(void)signal;
	atomic_fetch_add(&caught, 1);
}

static void *rain(void *nothing)
{
	struct timespec pause = { 0, 50 * 1000 };
	sigset_t all;
	pid_t self = getpid();
	(void)nothing;
	/* The storm is for the others. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (unsigned n = 0;; n++) {
		kill(self, storm[n % kinds]);
		DIR *tasks = opendir("/proc/self/task");
		struct dirent *task;
		while (tasks && (task = readdir(tasks)))
			if (atoi(task->d_name))
				syscall(SYS_tgkill, self, atoi(task->d_name), storm[n / 3 % kinds]);
		if (tasks)
			closedir(tasks);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static const char *mode(void)
{
	const char *mode = getenv("KAVACH_SHIM");
	return mode ? mode : "";
}

__attribute__((constructor)) static void start(void)
{
	if (strcmp(mode(), "signals"))
		return;
	for (int i = 0; i < kinds; i++) {
		struct sigaction action = { .sa_handler = handler };
		sigaction(storm[i], &action, NULL);
	}
	pthread_t thread;
	pthread_create(&thread, NULL, rain, NULL);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static int (*real)(clockid_t, struct timespec *);
	static atomic_long looks;
	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int result = real(clock, now);
	if (result == 0 && clock == CLOCK_REALTIME && strcmp(mode(), "clock") == 0) {
		long look = atomic_fetch_add(&looks, 1);
		now->tv_sec += (look % 2 ? 1 : -1) * (look * 7919 % (365 * 24 * 3600));
	}
	return result;
}
