/*
 * The file systems that the guard freezes and thaws (guard.c). FIFREEZE and FITHAW can hang: on a lost disk, or on a loop device
 * whose image lies in a file system that is frozen already. So each mount has a thread of its own, made before anything is
 * frozen, and the main thread goes on to the next one.
 */
#ifndef CHR_AGENT_MOUNTS_H
#define CHR_AGENT_MOUNTS_H

#include <stdbool.h>

/* To be called once, before anything else. False: there is no pipe. */
bool mounts_set_up(void);

/* Takes a directory's descriptor, and starts the thread of its mount: 0, or the errno. They are numbered 0, 1 … */
int mounts_add(int fd);

/* Whether there is one of this number, and its thread has nothing to do. */
bool mounts_is_idle(int number);

/* Orders one that is idle to be frozen. */
void mounts_freeze(int number);

/* Readable when a thread has done something. */
int mounts_result_fd(void);

/* Takes note of a freeze that is done, `failure` is 0 or the errno; false if there was none. */
bool mounts_take_result(int *failure);

/* Thaws what we have frozen, or whatever is, by whomever; the last one first. How many of them were frozen. */
long mounts_thaw_all(bool by_whomever);

#endif
