/*
 * chr-agent-helper: one small static program with a mode for each thing that must go on when the daemon does not.
 * No stdio, and no malloc of its own but in `files`, so that it stays small and can run from locked memory.
 */
#ifndef CHR_AGENT_HELPER_H
#define CHR_AGENT_HELPER_H

/* Exit status for a wrong command line. */
#define EXIT_USAGE 2

/* Mode `job`: supervises one script (job.c). The arguments are those after the mode's name. */
int job_main(int argc, char **argv);

/* Mode `guard`: freezes file systems and leaves none frozen (guard.c). */
int guard_main(int argc, char **argv);

/* Mode `account`: becomes a user and then a program (account.c). */
int account_main(int argc, char **argv);

/* Mode `files`: one operation on files, as a user (files.c). */
int files_main(int argc, char **argv);

#endif
