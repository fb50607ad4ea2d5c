/*
 * Descendants by /proc/PID/task/TID/children (proc(5)), or, where the kernel lacks it (CONFIG_PROC_CHILDREN), by the
 * parent in /proc/PID/stat. The helper is a subreaper, so what called setsid() and forked twice is still below it.
 */
#define _GNU_SOURCE
#include "tree.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Processes handled in one pass; with more, the next pass takes the rest. Untouched pages of these tables cost nothing. */
#define MAX_PROCESSES 32768

/* The descendants found so far, in the order in which their own children are looked up. */
static pid_t found[MAX_PROCESSES];
static int found_count;

static struct {
	pid_t pid;
	pid_t parent;
} all[MAX_PROCESSES];

static void add_found(pid_t pid)
{
	if (found_count < MAX_PROCESSES)
		found[found_count++] = pid;
}

/* Calls back for every entry of a directory whose name is a number. False if the directory cannot be read. */
static bool each_number_in(const char *path, void (*callback)(pid_t number, void *argument), void *argument)
{
	_Alignas(struct dirent64) char entries[4096];
	long length;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	while ((length = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
		for (long at = 0; at < length;) {
			const struct dirent64 *entry = (const struct dirent64 *)(entries + at);
			long number = parse_number(entry->d_name, NULL);
			if (number > 0)
				callback((pid_t)number, argument);
			at += entry->d_reclen;
		}
	}
	close(fd);
	return true;
}

/* --- through task/TID/children */

struct task {
	pid_t pid;
	bool no_children_file;
};

static void add_children_of_thread(pid_t thread, void *argument)
{
	struct task *task = argument;
	char path[64];
	struct text text = TEXT_IN(path);
	char bytes[1024];
	long number = 0;
	ssize_t length;
	text_add(&text, "/proc/");
	text_add_number(&text, task->pid);
	text_add(&text, "/task/");
	text_add_number(&text, thread);
	text_add(&text, "/children");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		/* our own thread is surely there, so then it is the file that the kernel does not have */
		if (errno == ENOENT && thread == getpid())
			task->no_children_file = true;
		return;
	}
	/* numbers, each followed by a space; one may be cut by the end of the buffer */
	while ((length = read(fd, bytes, sizeof bytes)) > 0) {
		for (ssize_t at = 0; at < length; at++) {
			if (bytes[at] >= '0' && bytes[at] <= '9') {
				number = number * 10 + (bytes[at] - '0');
			} else if (number > 0) {
				add_found((pid_t)number);
				number = 0;
			}
		}
	}
	if (number > 0)
		add_found((pid_t)number);
	close(fd);
}

/* False if this kernel cannot tell. */
static bool add_children_of(pid_t pid)
{
	struct task task = { .pid = pid };
	char path[48];
	struct text text = TEXT_IN(path);
	text_add(&text, "/proc/");
	text_add_number(&text, pid);
	text_add(&text, "/task");
	each_number_in(path, add_children_of_thread, &task);
	return !task.no_children_file;
}

/* --- through stat */

static void note_parent(pid_t pid, void *argument)
{
	int *count = argument;
	char path[48];
	struct text text = TEXT_IN(path);
	char bytes[256];
	text_add(&text, "/proc/");
	text_add_number(&text, pid);
	text_add(&text, "/stat");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t length = read(fd, bytes, sizeof bytes - 1);
	close(fd);
	if (length <= 0 || *count >= MAX_PROCESSES)
		return;
	bytes[length] = '\0';
	/* PID (NAME) STATE PARENT …, where the name may hold anything, also parentheses */
	const char *name_end = strrchr(bytes, ')');
	if (name_end == NULL || strlen(name_end) < 5)
		return;
	const char *parent = name_end + 4;
	long number = parse_number(parent, strchr(parent, ' '));
	if (number <= 0)
		return;
	all[*count].pid = pid;
	all[*count].parent = (pid_t)number;
	*count += 1;
}

static void find_by_parents(void)
{
	int count = 0;
	each_number_in("/proc", note_parent, &count);
	found_count = 0;
	for (int at = -1; at < found_count; at++) {
		pid_t parent = at < 0 ? getpid() : found[at];
		for (int i = 0; i < count; i++)
			if (all[i].parent == parent)
				add_found(all[i].pid);
	}
}

void signal_descendants(int signal, pid_t spared_group)
{
	found_count = 0;
	if (add_children_of(getpid())) {
		for (int at = 0; at < found_count; at++)
			add_children_of(found[at]);
	} else {
		find_by_parents();
	}
	for (int at = 0; at < found_count; at++)
		if (spared_group == 0 || getpgid(found[at]) != spared_group)
			kill(found[at], signal);
}
