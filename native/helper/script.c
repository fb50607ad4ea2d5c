/* See script.h. */
#define _GNU_SOURCE
#include "script.h"
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a script gets as the soft limit of open files: the usual default. Node.js raises the daemon's own to the hard limit. */
#define SCRIPT_OPEN_FILES 1024

_Noreturn static void fail_start(int failure, int result_fd)
{
	if (write(result_fd, &failure, sizeof failure) < 0)
		_exit(126);
	_exit(127);
}

/* In the child, up to the exec; tells the errno through `result_fd` if that fails. */
_Noreturn static void become_script(const struct account *account, char **program, pid_t supervisor, int result_fd)
{
	struct rlimit files;
	sigset_t none;
	setsid();
	cgroup_join();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur > SCRIPT_OPEN_FILES) {
		files.rlim_cur = SCRIPT_OPEN_FILES;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	int refused = become_account(account);
	if (refused != 0)
		fail_start(refused, result_fd);
	/* the supervisor's death is the script's; it may have died before this call. A change of the user undoes it */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor)
		_exit(127);
	/* by the kernel's own call: glibc's refuses 32 and 33, which its posix_spawn(3) leaves ignored */
	const struct {
		void (*handler)(int);
		unsigned long flags;
		void (*restorer)(void);
		unsigned long mask;
	} action = {SIG_DFL, 0, NULL, 0};
	for (int number = 1; number < NSIG; number++)
		syscall(SYS_rt_sigaction, number, &action, NULL, sizeof action.mask);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(program[0], program);
	fail_start(errno, result_fd);
}

int start_script(char **program, const struct account *account, pid_t *pid, int *exec_fd)
{
	int exec_pipe[2];
	pid_t supervisor = getpid();
	if (pipe2(exec_pipe, O_CLOEXEC) < 0)
		return errno;
	*pid = fork();
	if (*pid < 0)
		return errno;
	if (*pid == 0)
		become_script(account, program, supervisor, exec_pipe[1]);
	close(exec_pipe[1]);
	*exec_fd = exec_pipe[0];
	/* only the script's own processes hold the output now, so its end of file tells the truth */
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	return 0;
}
