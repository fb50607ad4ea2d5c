/*
 * Mode `guard`: freezes file systems for the daemon, and leaves none frozen, whatever becomes of the daemon.
 *
 *   chr-agent-helper guard --time-limit-ms N [--loop-only]
 *
 * Descriptor 3 is the control stream to the daemon. Orders end with a NUL, since a path may hold a newline; answers are
 * lines.
 *
 *   open PATH        opened MAJOR MINOR | failed ERRNO   a directory; they are numbered 0, 1 … as they are opened
 *   freeze NUMBER    frozen | failed ERRNO               one at a time; after the first one nothing is opened any more
 *   thaw             thawed COUNT                        all of them, by whomever they were frozen; then the guard ends
 *
 * Without an order: `ready` at the start; `expired COUNT` when the time limit, which counts from the first freeze, has
 * passed and what the guard had frozen is thawed. A limit of 0 is none. End of file on the control stream means that the
 * daemon is gone: the same happens at once. So it does at the death of the thread that started the guard: a killed daemon keeps its
 * descriptors open while another thread of it hangs in a write to what is frozen. The last one opened is thawed first. COUNT is of
 * those that were frozen.
 *
 * With --loop-only (development, tests) nothing but file systems on loop devices is opened: the second wall behind the
 * daemon's own policy.
 *
 * From the first freeze on the guard touches no file and takes no memory; what it has is locked. The mounts, each with a thread
 * of its own, are in mounts.c.
 */
#define _GNU_SOURCE
#include "helper.h"
#include "mounts.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define CONTROL_FD 3
/* Block device major number of loop devices. */
#define LOOP_MAJOR 7
/* What the kernel sends when the daemon dies. */
#define DEATH_SIGNAL SIGUSR1

struct guard {
	long time_limit_ms;
	bool loop_only;
	/* Fires when the time limit has passed. */
	int deadline_fd;
	/* Takes DEATH_SIGNAL. */
	int death_fd;
	pid_t daemon;
	bool started_freezing;
	/* The order that is being read. */
	char order[PATH_MAX + 16];
	size_t order_length;
	bool order_too_long;
};

/* --- the daemon */

/* A daemon that is gone or stopped gets no answer; it learns by the end of the stream. */
static void answer(const char *word, long first, long second)
{
	char line[64];
	struct text text = TEXT_IN(line);
	text_add(&text, word);
	if (first >= 0) {
		text_add(&text, " ");
		text_add_number(&text, first);
	}
	if (second >= 0) {
		text_add(&text, " ");
		text_add_number(&text, second);
	}
	text_add(&text, "\n");
	write_text(CONTROL_FD, line);
}

/* 0, or the errno. */
static int open_mount(struct guard *guard, const char *path, struct stat *found)
{
	if (guard->started_freezing)
		return EBUSY;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno;
	int failure = 0;
	if (fstat(fd, found) < 0)
		failure = errno;
	else if (guard->loop_only && major(found->st_dev) != LOOP_MAJOR)
		failure = EPERM;
	else
		failure = mounts_add(fd);
	if (failure != 0)
		close(fd);
	return failure;
}

static void start_deadline(struct guard *guard)
{
	struct itimerspec limit = {
		.it_value = { .tv_sec = guard->time_limit_ms / 1000, .tv_nsec = guard->time_limit_ms % 1000 * 1000000 },
	};
	guard->started_freezing = true;
	/* all zero would disarm it, which is what no limit means */
	timerfd_settime(guard->deadline_fd, 0, &limit, NULL);
}

/* Carries out an order; true if it is the one to thaw. */
static bool carry_out(struct guard *guard, const char *order)
{
	if (strcmp(order, "thaw") == 0)
		return true;
	if (strncmp(order, "open ", 5) == 0) {
		struct stat found;
		int failure = open_mount(guard, order + 5, &found);
		if (failure != 0)
			answer("failed", failure, -1);
		else
			answer("opened", major(found.st_dev), minor(found.st_dev));
		return false;
	}
	long number = strncmp(order, "freeze ", 7) == 0 ? parse_number(order + 7, NULL) : -1;
	if (number < 0 || !mounts_is_idle((int)number)) {
		answer("failed", EINVAL, -1);
		return false;
	}
	if (!guard->started_freezing)
		start_deadline(guard);
	mounts_freeze((int)number);
	return false;
}

/* Reads what has come; true if it was the order to thaw. */
static bool read_orders(struct guard *guard, bool *daemon_gone)
{
	char bytes[256];
	ssize_t length = read(CONTROL_FD, bytes, sizeof bytes);
	if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR))
		*daemon_gone = true;
	for (ssize_t at = 0; at < length; at++) {
		if (bytes[at] != '\0') {
			if (guard->order_length < sizeof guard->order - 1)
				guard->order[guard->order_length++] = bytes[at];
			else
				guard->order_too_long = true;
			continue;
		}
		guard->order[guard->order_length] = '\0';
		bool cut = guard->order_too_long;
		guard->order_length = 0;
		guard->order_too_long = false;
		if (cut)
			answer("failed", ENAMETOOLONG, -1);
		else if (carry_out(guard, guard->order))
			return true;
	}
	return false;
}

/* Whether it was the daemon's death: anybody may send such a signal. */
static bool read_death(const struct guard *guard)
{
	struct signalfd_siginfo signal;
	return read(guard->death_fd, &signal, sizeof signal) == sizeof signal && (pid_t)signal.ssi_pid == guard->daemon;
}

/* --- start */

static bool parse_options(int argc, char **argv, struct guard *guard)
{
	bool has_limit = false;
	for (int at = 0; at < argc; at++) {
		if (strcmp(argv[at], "--loop-only") == 0) {
			guard->loop_only = true;
		} else if (strcmp(argv[at], "--time-limit-ms") == 0 && at + 1 < argc) {
			guard->time_limit_ms = parse_number(argv[++at], NULL);
			has_limit = guard->time_limit_ms >= 0;
		} else {
			return false;
		}
	}
	return has_limit;
}

/* What only a SIGKILL or a bug shall end. What a bug raises keeps its default: the daemon then thaws. */
static void ignore_signals(void)
{
	static const int ours[] = { SIGHUP,  SIGINT,  SIGQUIT, SIGPIPE, SIGALRM, SIGTERM,   SIGUSR2,
				    SIGTSTP, SIGTTIN, SIGTTOU, SIGPOLL, SIGPROF, SIGVTALRM, SIGXCPU };
	for (size_t at = 0; at < sizeof ours / sizeof ours[0]; at++)
		signal(ours[at], SIG_IGN);
}

/* Best effort, all of it: a guard without these rights is still better than none. */
static void protect_self(void)
{
	int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (oom >= 0) {
		write_text(oom, "-1000");
		close(oom);
	}
	/* a core dump would wait for the frozen disk, and the daemon for the end of this process */
	prctl(PR_SET_DUMPABLE, 0);
	mlockall(MCL_CURRENT | MCL_FUTURE);
}

static bool set_up(struct guard *guard)
{
	if (fcntl(CONTROL_FD, F_SETFL, O_NONBLOCK) < 0 || !mounts_set_up())
		return false;
	/* the time that the machine sleeps counts too, where the kernel can do that */
	guard->deadline_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (guard->deadline_fd < 0)
		guard->deadline_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	/* before there are other threads: none of them shall take it */
	sigset_t death;
	sigemptyset(&death);
	sigaddset(&death, DEATH_SIGNAL);
	sigprocmask(SIG_BLOCK, &death, NULL);
	guard->death_fd = signalfd(-1, &death, SFD_CLOEXEC | SFD_NONBLOCK);
	/* one that has died before this has closed the stream, or hangs in something that is not frozen by us */
	guard->daemon = getppid();
	prctl(PR_SET_PDEATHSIG, DEATH_SIGNAL);
	return guard->deadline_fd >= 0 && guard->death_fd >= 0;
}

int guard_main(int argc, char **argv)
{
	static struct guard guard;
	if (!parse_options(argc, argv, &guard)) {
		write_text(STDERR_FILENO, "usage: chr-agent-helper guard --time-limit-ms N [--loop-only]\n");
		return EXIT_USAGE;
	}
	ignore_signals();
	if (!set_up(&guard)) {
		write_text(STDERR_FILENO, "chr-agent-helper: descriptor 3 must be the control stream\n");
		return EXIT_USAGE;
	}
	protect_self();
	answer("ready", -1, -1);

	bool daemon_gone = false;
	while (!daemon_gone) {
		struct pollfd fds[4] = {
			{ .fd = CONTROL_FD, .events = POLLIN },
			{ .fd = mounts_result_fd(), .events = POLLIN },
			{ .fd = guard.deadline_fd, .events = POLLIN },
			{ .fd = guard.death_fd, .events = POLLIN },
		};
		if (poll(fds, 4, -1) < 0)
			continue;
		if (fds[3].revents != 0 && read_death(&guard))
			break;
		if (fds[2].revents != 0) {
			answer("expired", mounts_thaw_all(false), -1);
			return 0;
		}
		int failure;
		if (fds[1].revents != 0 && mounts_take_result(&failure)) {
			if (failure == 0)
				answer("frozen", -1, -1);
			else
				answer("failed", failure, -1);
		}
		if (fds[0].revents != 0 && read_orders(&guard, &daemon_gone)) {
			answer("thawed", mounts_thaw_all(true), -1);
			return 0;
		}
	}
	mounts_thaw_all(false);
	return 0;
}
