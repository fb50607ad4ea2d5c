/*
 * Mode `files`: one operation on files, as a user, so that the kernel checks what the user may.
 *
 *   chr-agent-helper files --account UID:GID:GROUPS -- OPERATION ARGUMENT…
 *
 * To stdout: `ok`, or `error ERRNO`, or for what is wrong with the second path `second-error ERRNO`; a NUL, then the result:
 *
 *   look PATH                               TYPE SIZE MTIME ATIME UID GID MODE, NUL, name, NUL, link target, NUL
 *   list PATH PATTERN                       one such for each entry, also `.` and `..`; of what is no directory, itself; if
 *                                           PATTERN is not empty, of those whose names it matches (a POSIX extended regular expression)
 *   program PATH DIRECTORY                  whether the user may run it (errors: EACCES …) and DIRECTORY, if not empty, is one
 *   make-directory PATH PARENTS
 *   delete-file PATH
 *   delete-directory PATH RECURSIVE
 *   move-file OLD NEW OVERWRITE
 *   move-directory OLD NEW
 *   temporary-file DIRECTORY PREFIX SUFFIX  the path
 *   temporary-directory …                   the same
 *   own-directory PATH                      makes it (mode 0700) or finds that it is a directory of the user's own
 *   attributes PATH ATIME MTIME UID GID MODE    `-` leaves one as it is
 *   write PATH                              a new file of the user's own (mode 0600) with what stdin has
 *
 * TYPE: f, d, l, or o for others; times in seconds, MODE with the type's bits, decimal. Yes is 1, no is 0.
 */
#define _GNU_SOURCE
#include "account.h"
#include "helper.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_TRIES 100
#define TREE_DESCRIPTORS 16

static int show(int directory, const char *path, const char *name)
{
	struct stat status;
	char target[PATH_MAX] = "";
	if (fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	char type = S_ISREG(status.st_mode) ? 'f' : S_ISDIR(status.st_mode) ? 'd' : S_ISLNK(status.st_mode) ? 'l' : 'o';
	if (type == 'l' && readlinkat(directory, path, target, sizeof target - 1) < 0)
		target[0] = '\0';
	/* all but what it is comes from where it leads, if it leads anywhere */
	struct stat followed;
	if (type == 'l' && fstatat(directory, path, &followed, 0) == 0)
		status = followed;
	printf("%c %lld %lld %lld %u %u %u", type, (long long)status.st_size, (long long)status.st_mtime,
	       (long long)status.st_atime, status.st_uid, status.st_gid, status.st_mode);
	printf("%c%s%c%s%c", 0, name, 0, target, 0);
	return 0;
}

static int finish(const char *word, int failure)
{
	if (failure == 0)
		printf("ok%c", 0);
	else
		printf("%s %d%c", word, failure, 0);
	return 0;
}

static int list(const char *path, const char *pattern)
{
	regex_t expression;
	if (pattern[0] != '\0' && regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB) != 0)
		return finish("error", EINVAL);
	DIR *directory = opendir(path);
	if (directory == NULL && errno != ENOTDIR)
		return finish("error", errno);
	if (directory == NULL) {
		struct stat status;
		if (lstat(path, &status) < 0)
			return finish("error", errno);
		finish("error", 0);
		show(AT_FDCWD, path, path);
		return 0;
	}
	finish("error", 0);
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
		if (pattern[0] == '\0' || regexec(&expression, entry->d_name, 0, NULL, 0) == 0)
			show(dirfd(directory), entry->d_name, entry->d_name);
	return 0;
}

static int program(const char *path, const char *directory)
{
	struct stat status;
	if (stat(path, &status) < 0)
		return finish("error", errno);
	if (access(path, X_OK) < 0)
		return finish("error", errno);
	if (directory[0] != '\0' && stat(directory, &status) < 0)
		return finish("second-error", errno);
	if (directory[0] != '\0' && !S_ISDIR(status.st_mode))
		return finish("second-error", ENOTDIR);
	return finish("error", 0);
}

static int make_directory(char *path, bool parents)
{
	for (char *slash = path + 1; parents && *path != '\0' && (slash = strchr(slash, '/')) != NULL; slash++) {
		*slash = '\0';
		int result = mkdir(path, 0700);
		*slash = '/';
		if (result < 0 && errno != EEXIST)
			return errno;
	}
	return mkdir(path, 0700) < 0 ? errno : 0;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status, (void)place;
	return (kind == FTW_DP || kind == FTW_DNR ? rmdir(path) : unlink(path)) < 0 ? errno : 0;
}

static int delete_file(const char *path)
{
	struct stat status;
	if (lstat(path, &status) < 0)
		return errno;
	if (S_ISDIR(status.st_mode))
		return EISDIR;
	return unlink(path) < 0 ? errno : 0;
}

static int delete_directory(const char *path, bool recursive)
{
	struct stat status;
	if (lstat(path, &status) < 0)
		return errno;
	if (!S_ISDIR(status.st_mode))
		return ENOTDIR;
	if (!recursive)
		return rmdir(path) < 0 ? errno : 0;
	int result = nftw(path, remove_entry, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return result < 0 ? errno : result;
}

/* EXDEV between file systems. Those that cannot tell whether they replace something (EINVAL) are asked before. */
static int move(const char *old, const char *new, bool overwrite)
{
	if (overwrite || strcmp(old, new) == 0 ? rename(old, new) == 0 : renameat2(AT_FDCWD, old, AT_FDCWD, new, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno == EINVAL && !overwrite) {
		struct stat status;
		if (lstat(new, &status) == 0)
			return EEXIST;
		return rename(old, new) < 0 ? errno : 0;
	}
	return errno;
}

static int move_entry(const char *old, const char *new, bool overwrite, bool want_directory)
{
	struct stat status;
	if (lstat(old, &status) < 0)
		return finish("error", errno);
	if (want_directory != (bool)S_ISDIR(status.st_mode))
		return finish("error", want_directory ? ENOTDIR : EISDIR);
	if (!want_directory && lstat(new, &status) == 0 && S_ISDIR(status.st_mode))
		return finish("error", EEXIST);
	return finish("error", move(old, new, overwrite));
}

static int temporary(const char *directory, const char *prefix, const char *suffix, bool want_directory)
{
	char path[PATH_MAX];
	for (int attempt = 0; attempt < MAX_TRIES; attempt++) {
		unsigned random;
		if (getrandom(&random, sizeof random, 0) != sizeof random)
			return finish("error", errno);
		int length = snprintf(path, sizeof path, "%s/%svmware%u%s", directory, prefix, random % 1000000, suffix);
		if (length < 0 || (size_t)length >= sizeof path)
			return finish("error", ENAMETOOLONG);
		int result = want_directory ? mkdir(path, 0700) : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (result >= 0) {
			finish("error", 0);
			printf("%s%c", path, 0);
			return 0;
		}
		if (errno != EEXIST)
			return finish("error", errno);
	}
	return finish("error", EEXIST);
}

static int own_directory(const char *path)
{
	struct stat status;
	if (mkdir(path, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return errno;
	if (lstat(path, &status) < 0)
		return errno;
	return S_ISDIR(status.st_mode) && status.st_uid == geteuid() && (status.st_mode & 077) == 0 ? 0 : EPERM;
}

static bool given(const char *value)
{
	return strcmp(value, "-") != 0;
}

static struct timespec time_from(const char *value)
{
	struct timespec time = { .tv_sec = given(value) ? atoll(value) : 0, .tv_nsec = given(value) ? 0 : UTIME_OMIT };
	return time;
}

static int attributes(char **value)
{
	struct timespec times[2] = { time_from(value[1]), time_from(value[2]) };
	uid_t uid = given(value[3]) ? (uid_t)strtoul(value[3], NULL, 10) : (uid_t)-1;
	gid_t gid = given(value[4]) ? (gid_t)strtoul(value[4], NULL, 10) : (gid_t)-1;
	struct stat status;
	if (stat(value[0], &status) < 0)
		return errno;
	if ((uid != (uid_t)-1 || gid != (gid_t)-1) && chown(value[0], uid, gid) < 0)
		return errno;
	if (given(value[5]) && chmod(value[0], (mode_t)strtoul(value[5], NULL, 10) & 07777) < 0)
		return errno;
	return utimensat(AT_FDCWD, value[0], times, 0) < 0 ? errno : 0;
}

static int write_file(const char *path)
{
	char bytes[4096];
	ssize_t count;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno;
	while ((count = read(STDIN_FILENO, bytes, sizeof bytes)) > 0)
		for (ssize_t at = 0, wrote; at < count; at += wrote)
			if ((wrote = write(fd, bytes + at, (size_t)(count - at))) < 0)
				return errno;
	return count < 0 || close(fd) < 0 ? errno : 0;
}

static bool yes(const char *value)
{
	return value[0] == '1';
}

/* false: there is no such operation with that many arguments. */
static bool operate(const char *name, char **value, int count)
{
	const struct {
		const char *name;
		int count;
	} known[] = {
		{ "look", 1 }, { "list", 2 }, { "program", 2 }, { "make-directory", 2 }, { "delete-file", 1 },
		{ "delete-directory", 2 }, { "move-file", 3 }, { "move-directory", 2 }, { "temporary-file", 3 },
		{ "temporary-directory", 3 }, { "own-directory", 1 }, { "attributes", 6 }, { "write", 1 },
	};
	struct stat status;
	size_t at = 0;
	while (at < sizeof known / sizeof *known && (strcmp(known[at].name, name) != 0 || known[at].count != count))
		at++;
	switch (at) {
	case 0:
		if (lstat(value[0], &status) < 0)
			return finish("error", errno) == 0;
		finish("error", 0);
		return show(AT_FDCWD, value[0], value[0]) >= 0;
	case 1:
		return list(value[0], value[1]) == 0;
	case 2:
		return program(value[0], value[1]) == 0;
	case 3:
		return finish("error", make_directory(value[0], yes(value[1]))) == 0;
	case 4:
		return finish("error", delete_file(value[0])) == 0;
	case 5:
		return finish("error", delete_directory(value[0], yes(value[1]))) == 0;
	case 6:
		return move_entry(value[0], value[1], yes(value[2]), false) == 0;
	case 7:
		return move_entry(value[0], value[1], false, true) == 0;
	case 8:
	case 9:
		return temporary(value[0], value[1], value[2], at == 9) == 0;
	case 10:
		return finish("error", own_directory(value[0])) == 0;
	case 11:
		return finish("error", attributes(value)) == 0;
	case 12:
		return finish("error", write_file(value[0])) == 0;
	default:
		return false;
	}
}

int files_main(int argc, char **argv)
{
	struct account account = { .given = false };
	if (argc < 5 || strcmp(argv[0], "--account") != 0 || !parse_account(argv[1], &account) || strcmp(argv[2], "--") != 0) {
		write_text(STDERR_FILENO, "usage: chr-agent-helper files --account UID:GID:GROUPS -- OPERATION ARGUMENT…\n");
		return EXIT_USAGE;
	}
	int refused = become_account(&account);
	if (refused != 0)
		finish("error", refused);
	else if (!operate(argv[3], argv + 4, argc - 4))
		return EXIT_USAGE;
	return fflush(stdout) == 0 ? 0 : 1;
}
