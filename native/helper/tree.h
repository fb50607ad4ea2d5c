/* The processes that descend from this one, found through /proc. */
#ifndef CHR_AGENT_TREE_H
#define CHR_AGENT_TREE_H

#include <sys/types.h>

/*
 * Sends `signal` to every descendant that is not in process group `spared_group` (0: to every one).
 * One pass: what is forked meanwhile may be missed, so a caller that wants nothing left calls it again until waitid()
 * says that there is no child.
 */
void signal_descendants(int signal, pid_t spared_group);

#endif
