/* How a job's script starts: in a session and a cgroup of its own, as the user it is for, with nothing of the helper's. */
#ifndef CHR_AGENT_SCRIPT_H
#define CHR_AGENT_SCRIPT_H

#include "account.h"

#include <sys/types.h>

/*
 * Forks, and closes the caller's output. `exec_fd` becomes readable when the script runs (end of file), or gives the errno of
 * what failed. Returns 0, or the errno if there is no child.
 */
int start_script(char **program, const struct account *account, pid_t *pid, int *exec_fd);

#endif
