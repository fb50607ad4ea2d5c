/* A cgroup2 group of one script, so that nothing it starts can get away (cgroups-v2: cgroup.kill, Linux 5.14). */
#ifndef CHR_AGENT_CGROUP_H
#define CHR_AGENT_CGROUP_H

#include <stdbool.h>

/* Makes `parent/job-PID` for this helper; false if that cannot be had, then the other functions do nothing. */
bool cgroup_create(const char *parent);
/* Moves the calling process in. */
void cgroup_join(void);
/* SIGKILL for every process in it, at once. */
void cgroup_kill(void);
/* Hands what still runs in it to the parent group, and removes it. */
void cgroup_remove(void);

#endif
