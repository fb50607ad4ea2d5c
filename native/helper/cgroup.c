#include "cgroup.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 1024
/* A process that forks while it is handed over needs another pass; give up after this many. */
#define MAX_HANDOVER_PASSES 20

static const char *parent_path;
static char group_path[PATH_BYTES];

/* Opens a file of the group, or of its parent. */
static int open_file(const char *directory, const char *name, int flags)
{
	char path[PATH_BYTES + 32];
	struct text text = TEXT_IN(path);
	text_add(&text, directory);
	text_add(&text, name);
	return text.overflow ? -1 : open(path, flags | O_CLOEXEC);
}

static void write_file(const char *directory, const char *name, const char *value)
{
	int fd = open_file(directory, name, O_WRONLY);
	if (fd < 0)
		return;
	write_text(fd, value);
	close(fd);
}

bool cgroup_create(const char *parent)
{
	struct text text = TEXT_IN(group_path);
	text_add(&text, parent);
	text_add(&text, "/job-");
	text_add_number(&text, getpid());
	/* left by an earlier helper of the same number, if it is there: empty, or it could not have been left */
	if (text.overflow || (mkdir(group_path, 0755) < 0 && errno != EEXIST)) {
		group_path[0] = '\0';
		return false;
	}
	parent_path = parent;
	return true;
}

void cgroup_join(void)
{
	if (group_path[0] != '\0')
		write_file(group_path, "/cgroup.procs", "0");
}

void cgroup_kill(void)
{
	if (group_path[0] != '\0')
		write_file(group_path, "/cgroup.kill", "1");
}

void cgroup_remove(void)
{
	if (group_path[0] == '\0')
		return;
	for (int pass = 0; pass < MAX_HANDOVER_PASSES && rmdir(group_path) < 0 && errno == EBUSY; pass++) {
		char bytes[4096];
		int from = open_file(group_path, "/cgroup.procs", O_RDONLY);
		if (from < 0)
			return;
		ssize_t length = read(from, bytes, sizeof bytes - 1);
		close(from);
		/* one number a line, and one write for each number; an unfinished last line waits for the next pass */
		for (char *line = bytes, *at = bytes; at < bytes + length; at++) {
			if (*at != '\n')
				continue;
			*at = '\0';
			write_file(parent_path, "/cgroup.procs", line);
			line = at + 1;
		}
	}
}
