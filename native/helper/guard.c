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
 * FIFREEZE and FITHAW can hang: on a lost disk, or on a loop device whose image lies in a file system that is frozen
 * already. So each mount has a thread of its own, made before anything is frozen, and the main thread goes on to the next
 * one. From the first freeze on the guard touches no file and takes no memory; what it has is locked.
 */
#define _GNU_SOURCE
#include "helper.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_FD 3
#define MOST_MOUNTS 1024
#define STACK_BYTES (32 * 1024)
/* How long a thaw may keep the next one waiting. */
#define PATIENCE_MS 500
/* Block device major number of loop devices. */
#define LOOP_MAJOR 7
/* What the kernel sends when the daemon dies. */
#define DEATH_SIGNAL SIGUSR1

enum order { ORDER_FREEZE, ORDER_THAW };

struct mount {
	int fd;
	/* The thread waits for it, then reads `order`. */
	sem_t ordered;
	enum order order;
	/* The main thread's: an order is being carried out; we have frozen it; a thaw has found it frozen. */
	bool busy;
	bool frozen;
	bool thawed;
};

/* What a thread tells the main one. `value`: of a freeze 0 or the errno, of a thaw how many FITHAW it took. */
struct result {
	int mount;
	enum order order;
	int value;
};

struct guard {
	long time_limit_ms;
	bool loop_only;
	/* What the threads write to, our end. */
	int result_read;
	/* Fires when the time limit has passed. */
	int deadline_fd;
	/* Takes DEATH_SIGNAL. */
	int death_fd;
	pid_t daemon;
	bool started_freezing;
	int mount_count;
	/* The order that is being read. */
	char order[PATH_MAX + 16];
	size_t order_length;
	bool order_too_long;
};

static struct mount mounts[MOST_MOUNTS];
/* For the threads; set before the first one starts. */
static int result_write_fd;

/* --- threads */

static int perform(int fd, enum order order)
{
	if (order == ORDER_FREEZE)
		return ioctl(fd, FIFREEZE, 0) == 0 ? 0 : errno;
	int count = 0;
	while (ioctl(fd, FITHAW, 0) == 0)
		count++;
	return count;
}

static void *serve_mount(void *argument)
{
	struct mount *mount = argument;
	struct result result = { .mount = (int)(mount - mounts) };
	for (;;) {
		while (sem_wait(&mount->ordered) < 0)
			;
		result.order = mount->order;
		result.value = perform(mount->fd, result.order);
		while (write(result_write_fd, &result, sizeof result) < 0 && errno == EINTR)
			;
	}
	return NULL;
}

static bool start_thread(struct mount *mount)
{
	pthread_attr_t attributes;
	pthread_t thread;
	if (sem_init(&mount->ordered, 0, 0) < 0 || pthread_attr_init(&attributes) != 0)
		return false;
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	bool started = pthread_create(&thread, &attributes, serve_mount, mount) == 0;
	pthread_attr_destroy(&attributes);
	return started;
}

static void give_order(struct mount *mount, enum order order)
{
	mount->order = order;
	mount->busy = true;
	sem_post(&mount->ordered);
}

/* Takes note of what a thread has done. */
static void note(const struct result *result)
{
	struct mount *mount = &mounts[result->mount];
	mount->busy = false;
	if (result->order == ORDER_FREEZE)
		mount->frozen = result->value == 0;
	else if (result->value > 0)
		mount->thawed = true;
}

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
	if (guard->mount_count == MOST_MOUNTS)
		return EMFILE;
	struct mount *mount = &mounts[guard->mount_count];
	mount->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (mount->fd < 0)
		return errno;
	int failure = 0;
	if (fstat(mount->fd, found) < 0)
		failure = errno;
	else if (guard->loop_only && major(found->st_dev) != LOOP_MAJOR)
		failure = EPERM;
	else if (!start_thread(mount))
		failure = EAGAIN;
	if (failure != 0)
		close(mount->fd);
	else
		guard->mount_count++;
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
	if (number < 0 || number >= guard->mount_count || mounts[number].busy) {
		answer("failed", EINVAL, -1);
		return false;
	}
	if (!guard->started_freezing)
		start_deadline(guard);
	give_order(&mounts[number], ORDER_FREEZE);
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

/* --- thaw */

static long long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for one result and takes note of it, at most `timeout_ms` (negative: no limit). False if none came. */
static bool await_result(struct guard *guard, long long timeout_ms, struct result *result)
{
	struct pollfd readable = { .fd = guard->result_read, .events = POLLIN };
	if (poll(&readable, 1, timeout_ms < 0 ? -1 : (int)timeout_ms) <= 0)
		return false;
	if (read(guard->result_read, result, sizeof *result) != sizeof *result)
		return false;
	note(result);
	return true;
}

/* The same while everything is being thawed: a freeze that returns only now is undone. */
static void await_thaw(struct guard *guard, long long timeout_ms)
{
	struct result result;
	if (await_result(guard, timeout_ms, &result) && result.order == ORDER_FREEZE)
		give_order(&mounts[result.mount], ORDER_THAW);
}

static bool any_busy(const struct guard *guard)
{
	for (int at = 0; at < guard->mount_count; at++)
		if (mounts[at].busy)
			return true;
	return false;
}

/* Thaws what we have frozen, or whatever is, by whomever; how many of them were frozen. */
static long thaw_all(struct guard *guard, bool by_whomever)
{
	for (int at = guard->mount_count - 1; at >= 0; at--) {
		struct mount *mount = &mounts[at];
		long long deadline_ms = now_ms() + PATIENCE_MS;
		/* one that is being frozen has its turn below, when that is done */
		if (mount->busy || !(mount->frozen || by_whomever))
			continue;
		give_order(mount, ORDER_THAW);
		for (long long left_ms = PATIENCE_MS; mount->busy && left_ms > 0; left_ms = deadline_ms - now_ms())
			await_thaw(guard, left_ms);
	}
	while (any_busy(guard))
		await_thaw(guard, -1);
	long count = 0;
	for (int at = 0; at < guard->mount_count; at++)
		if (mounts[at].thawed)
			count++;
	return count;
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
	int pipe_fds[2];
	if (fcntl(CONTROL_FD, F_SETFL, O_NONBLOCK) < 0 || pipe2(pipe_fds, O_CLOEXEC) < 0)
		return false;
	guard->result_read = pipe_fds[0];
	result_write_fd = pipe_fds[1];
	fcntl(guard->result_read, F_SETFL, O_NONBLOCK);
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
			{ .fd = guard.result_read, .events = POLLIN },
			{ .fd = guard.deadline_fd, .events = POLLIN },
			{ .fd = guard.death_fd, .events = POLLIN },
		};
		if (poll(fds, 4, -1) < 0)
			continue;
		if (fds[3].revents != 0 && read_death(&guard))
			break;
		struct result result;
		if (fds[2].revents != 0) {
			answer("expired", thaw_all(&guard, false), -1);
			return 0;
		}
		if (fds[1].revents != 0 && await_result(&guard, 0, &result)) {
			if (result.value == 0)
				answer("frozen", -1, -1);
			else
				answer("failed", result.value, -1);
		}
		if (fds[0].revents != 0 && read_orders(&guard, &daemon_gone)) {
			answer("thawed", thaw_all(&guard, true), -1);
			return 0;
		}
	}
	thaw_all(&guard, false);
	return 0;
}
