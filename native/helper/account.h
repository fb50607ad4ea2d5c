/* Becoming a user: what `job`, `account` and `files` do before they act for one. */
#ifndef CHR_AGENT_ACCOUNT_H
#define CHR_AGENT_ACCOUNT_H

#include <stdbool.h>
#include <sys/types.h>

/* The kernel's own limit is 65536; an account with more than this is refused. */
#define MAX_GROUPS 256

struct account {
	/* Whether there is one to become. */
	bool given;
	uid_t uid;
	gid_t gid;
	gid_t groups[MAX_GROUPS];
	int group_count;
};

/* Reads `--account UID:GID:GROUP,GROUP…` (the groups may be none); false if it is nothing of that kind. */
bool parse_account(const char *text, struct account *account);

/* Gives up root for good, or does nothing where no account is given. 0, or the errno. The process has one thread. */
int become_account(const struct account *account);

#endif
