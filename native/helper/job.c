/*
 * Mode `job`: runs one script and lets nothing of it get away.
 *
 *   chr-agent-helper job --time-limit-ms N --grace-ms N [--cgroup DIR] [--account UID:GID:GROUPS] -- PROGRAM [ARGUMENT…]
 *
 * With an account the script runs as that user; the helper stays who it is. A time limit of 0 is none, a grace of 0 means
 * SIGKILL at once. Descriptor 0 is /dev/null, 1 and 2 are the script's output, 3 the control stream to the daemon. Lines to
 * the daemon:
 *
 *   started PID      the script runs
 *   error ERRNO      it could not be started; the last line
 *   exited CODE      the script's main process ended by itself; the last line
 *   signaled NUMBER  the same, by a signal
 *   timed-out        the time limit passed, and nothing of the script's tree is left; the last line
 *   killed NUMBER    the daemon (or SIGTERM) asked for the end, and nothing is left; the signal that ended the main process
 *
 * Lines from the daemon: `kill`. End of file there means that the daemon is gone: the tree gets SIGKILL at once.
 *
 * The helper is a subreaper (prctl(2)), so a descendant that lost its parent becomes the helper's own child, and
 * waitid(2) with ECHILD is the proof that none is left. A script whose main process ends by itself may leave background
 * processes; these go to init.
 */
#define _GNU_SOURCE
#include "account.h"
#include "cgroup.h"
#include "helper.h"
#include "script.h"
#include "text.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_FD 3
/* Pauses between two rounds of SIGKILL, for processes that the kernel cannot end yet. */
#define FIRST_PAUSE_MS 1
#define LONGEST_PAUSE_MS 100

struct options {
	long time_limit_ms;
	long grace_ms;
	const char *cgroup;
	struct account account;
	char **program;
};

struct job {
	pid_t pid;
	/* The main process: whether it was waited for, and how it ended. */
	bool main_ended;
	int end_code;
	int end_status;
	bool kill_asked;
	bool daemon_gone;
	/* Readable when a signal is pending; the write end of the exec pipe closed or told an errno. */
	int signal_fd;
	int exec_fd;
	int exec_errno;
	/* Bytes of the command line read so far. */
	char command[16];
	size_t command_length;
};

/* --- options */

static bool parse_options(int argc, char **argv, struct options *options)
{
	for (int at = 0; at < argc; at++) {
		if (strcmp(argv[at], "--") == 0) {
			options->program = argv + at + 1;
			return at + 1 < argc;
		}
		if (at + 1 >= argc)
			return false;
		const char *value = argv[at + 1];
		if (strcmp(argv[at], "--time-limit-ms") == 0) {
			if ((options->time_limit_ms = parse_number(value, NULL)) < 0)
				return false;
		} else if (strcmp(argv[at], "--grace-ms") == 0) {
			if ((options->grace_ms = parse_number(value, NULL)) < 0)
				return false;
		} else if (strcmp(argv[at], "--cgroup") == 0) {
			options->cgroup = value;
		} else if (strcmp(argv[at], "--account") == 0) {
			if (!parse_account(value, &options->account))
				return false;
		} else {
			return false;
		}
		at++;
	}
	return false;
}

/* --- events */

static long long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Tells the daemon; a daemon that is gone is noticed here too. */
static void report(struct job *job, const char *word, long number)
{
	char line[48];
	struct text text = TEXT_IN(line);
	text_add(&text, word);
	if (number >= 0) {
		text_add(&text, " ");
		text_add_number(&text, number);
	}
	text_add(&text, "\n");
	if (!write_text(CONTROL_FD, line))
		job->daemon_gone = true;
}

static void read_signals(struct job *job)
{
	struct signalfd_siginfo info;
	while (read(job->signal_fd, &info, sizeof info) == sizeof info)
		if (info.ssi_signo == SIGTERM)
			job->kill_asked = true;
}

static void read_commands(struct job *job)
{
	char bytes[64];
	ssize_t length = read(CONTROL_FD, bytes, sizeof bytes);
	if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR))
		job->daemon_gone = true;
	for (ssize_t at = 0; at < length; at++) {
		if (bytes[at] != '\n') {
			/* an over-long line is no command, whatever its first bytes are */
			if (job->command_length < sizeof job->command)
				job->command[job->command_length++] = bytes[at];
			continue;
		}
		if (job->command_length == 4 && memcmp(job->command, "kill", 4) == 0)
			job->kill_asked = true;
		job->command_length = 0;
	}
}

/* End of file on the exec pipe: the script runs. Else it holds the errno of what failed. */
static void read_exec_result(struct job *job)
{
	ssize_t length = read(job->exec_fd, &job->exec_errno, sizeof job->exec_errno);
	if (length < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	close(job->exec_fd);
	job->exec_fd = -1;
	if (length == 0)
		report(job, "started", job->pid);
}

/* Sleeps until something happens, at most `timeout_ms` (negative: no limit), and takes note of it in `job`. */
static void wait_for_event(struct job *job, long long timeout_ms)
{
	struct pollfd fds[3] = {
		{ .fd = job->signal_fd, .events = POLLIN },
		{ .fd = job->daemon_gone ? -1 : CONTROL_FD, .events = POLLIN },
		{ .fd = job->exec_fd, .events = POLLIN },
	};
	struct timespec timeout = { .tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000 };
	if (ppoll(fds, 3, timeout_ms < 0 ? NULL : &timeout, NULL) <= 0)
		return;
	if (fds[0].revents != 0)
		read_signals(job);
	if (fds[1].revents != 0)
		read_commands(job);
	if (fds[2].revents != 0)
		read_exec_result(job);
}

/* Waits for what has ended. False if there is no child left at all. */
static bool reap(struct job *job)
{
	for (;;) {
		siginfo_t info = { .si_pid = 0 };
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (info.si_pid == 0)
			return true;
		if (info.si_pid == job->pid && !job->main_ended) {
			job->main_ended = true;
			job->end_code = info.si_code;
			job->end_status = info.si_status;
		}
	}
}

/* --- end */

/* SIGKILL in rounds, until nothing is left. */
static void kill_all(struct job *job)
{
	long pause_ms = FIRST_PAUSE_MS;
	for (;;) {
		cgroup_kill();
		/* a group takes the signal as a whole, whatever it forks; its number is ours as long as nobody waited for it */
		if (!job->main_ended)
			kill(-job->pid, SIGKILL);
		signal_descendants(SIGKILL, 0);
		if (!reap(job))
			return;
		wait_for_event(job, pause_ms);
		if (pause_ms < LONGEST_PAUSE_MS)
			pause_ms *= 2;
	}
}

/* SIGTERM to every descendant, and after the grace SIGKILL. */
static void end_tree(struct job *job, long grace_ms)
{
	long long deadline = now_ms() + grace_ms;
	pid_t group = job->main_ended ? 0 : job->pid;
	if (grace_ms > 0 && !job->daemon_gone) {
		if (group != 0) {
			kill(-group, SIGTERM);
			kill(-group, SIGCONT);
		}
		signal_descendants(SIGTERM, group);
		/* what is stopped cannot end */
		signal_descendants(SIGCONT, group);
	}
	while (!job->daemon_gone) {
		long long left_ms = deadline - now_ms();
		if (!reap(job))
			return;
		if (left_ms <= 0)
			break;
		wait_for_event(job, left_ms);
	}
	kill_all(job);
}

static int supervise(struct job *job, const struct options *options)
{
	long long deadline = now_ms() + options->time_limit_ms;
	for (;;) {
		bool any_left = reap(job);
		/* it cannot have ended with its exec undecided; the exec pipe is closed by then */
		if (job->main_ended && job->exec_fd >= 0)
			read_exec_result(job);
		if (job->main_ended && job->exec_errno != 0) {
			report(job, "error", job->exec_errno);
			return 0;
		}
		if (job->daemon_gone)
			break;
		if (job->main_ended || !any_left) {
			bool by_itself = job->end_code == CLD_EXITED;
			report(job, by_itself ? "exited" : "signaled", job->end_status);
			return 0;
		}
		long long left_ms = options->time_limit_ms == 0 ? -1 : deadline - now_ms();
		bool timed_out = options->time_limit_ms != 0 && left_ms <= 0;
		if (timed_out || job->kill_asked) {
			end_tree(job, options->grace_ms);
			if (timed_out)
				report(job, "timed-out", -1);
			else
				report(job, "killed", job->end_code == CLD_EXITED ? SIGTERM : job->end_status);
			return 0;
		}
		wait_for_event(job, left_ms);
	}
	kill_all(job);
	return 0;
}

/* The daemon's ends of its pipes do not block, and the flag may come along with the script's ends. */
static void make_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK) != 0)
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

int job_main(int argc, char **argv)
{
	struct options options = { .grace_ms = 2000 };
	struct job job = { .exec_fd = -1 };
	sigset_t handled;

	if (!parse_options(argc, argv, &options)) {
		write_text(STDERR_FILENO, "usage: chr-agent-helper job --time-limit-ms N --grace-ms N [--cgroup DIR] [--account UID:GID:GROUPS] -- PROGRAM [ARGUMENT…]\n");
		return EXIT_USAGE;
	}
	if (fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0 || fcntl(CONTROL_FD, F_SETFL, O_NONBLOCK) < 0) {
		write_text(STDERR_FILENO, "chr-agent-helper: descriptor 3 must be the control stream\n");
		return EXIT_USAGE;
	}
	for (int fd = 0; fd <= 2; fd++)
		make_blocking(fd);

	/* SIGHUP and SIGINT are for the daemon, which decides; a script must not end by a terminal's ^C */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	sigemptyset(&handled);
	sigaddset(&handled, SIGCHLD);
	sigaddset(&handled, SIGTERM);
	sigprocmask(SIG_BLOCK, &handled, NULL);
	signal(SIGCHLD, SIG_DFL);
	job.signal_fd = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (options.cgroup != NULL)
		cgroup_create(options.cgroup);

	int failure = job.signal_fd < 0 ? errno : start_script(options.program, &options.account, &job.pid, &job.exec_fd);
	if (failure != 0)
		report(&job, "error", failure);
	else
		supervise(&job, &options);
	cgroup_remove();
	return 0;
}
