/*
 * Mode `account`: becomes a user, and the program.
 *
 *   chr-agent-helper account --account UID:GID:GROUPS --directory DIR -- PROGRAM [ARGUMENT…]
 *
 * The process id stays. Exit status 126 or 127 means that it went no further.
 */
#define _GNU_SOURCE
#include "account.h"
#include "helper.h"
#include "text.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#define EXIT_REFUSED 126
#define EXIT_NOT_FOUND 127
/* chown(2) takes the one above for "leave as it is". */
#define MAX_ID 4294967294ull

/* A decimal number up to `end`; false if it is none, or no id. parse_number() ends at INT_MAX. */
static bool parse_id(const char *digits, const char *end, unsigned *id)
{
	unsigned long long value = 0;
	if (digits >= end)
		return false;
	for (; digits < end; digits++) {
		if (*digits < '0' || *digits > '9')
			return false;
		value = value * 10 + (unsigned)(*digits - '0');
		if (value > MAX_ID)
			return false;
	}
	*id = (unsigned)value;
	return true;
}

bool parse_account(const char *text, struct account *account)
{
	const char *uid_end = strchr(text, ':');
	const char *gid_end = uid_end == NULL ? NULL : strchr(uid_end + 1, ':');
	if (gid_end == NULL || !parse_id(text, uid_end, &account->uid) || !parse_id(uid_end + 1, gid_end, &account->gid))
		return false;
	account->group_count = 0;
	for (const char *group = gid_end + 1; *group != '\0';) {
		const char *end = strchrnul(group, ',');
		if (account->group_count == MAX_GROUPS || !parse_id(group, end, &account->groups[account->group_count]))
			return false;
		account->group_count++;
		group = *end == ',' ? end + 1 : end;
	}
	account->given = true;
	return true;
}

int become_account(const struct account *account)
{
	if (!account->given)
		return 0;
	/* an agent that is not root can only be who it is */
	if (geteuid() != 0)
		return account->uid == geteuid() ? 0 : EPERM;
	if (setgroups((size_t)account->group_count, account->groups) < 0 ||
	    setresgid(account->gid, account->gid, account->gid) < 0 ||
	    setresuid(account->uid, account->uid, account->uid) < 0)
		return errno;
	return 0;
}

int account_main(int argc, char **argv)
{
	struct account account = { .given = false };
	const char *directory = NULL;
	int at = 0;
	for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2) {
		if (strcmp(argv[at], "--account") == 0 && parse_account(argv[at + 1], &account))
			continue;
		if (strcmp(argv[at], "--directory") != 0)
			break;
		directory = argv[at + 1];
	}
	if (!account.given || at + 1 >= argc || strcmp(argv[at], "--") != 0) {
		write_text(STDERR_FILENO, "usage: chr-agent-helper account --account UID:GID:GROUPS --directory DIR -- PROGRAM [ARGUMENT…]\n");
		return EXIT_USAGE;
	}
	if (become_account(&account) != 0 || (directory != NULL && chdir(directory) < 0))
		return EXIT_REFUSED;
	execv(argv[at + 1], argv + at + 1);
	return EXIT_NOT_FOUND;
}
