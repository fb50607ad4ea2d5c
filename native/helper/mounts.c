/* See mounts.h. From the first freeze on nothing here touches a file or takes memory. */
#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define MOST_MOUNTS 1024
#define STACK_BYTES (32 * 1024)
/* How long a thaw may keep the next one waiting. */
#define PATIENCE_MS 500

enum order { ORDER_FREEZE, ORDER_THAW };

struct mount {
	int fd;
	/* The thread waits for it, then reads `order`. */
	sem_t ordered;
	enum order order;
	/* The main thread's: an order is being carried out; we have frozen it; a thaw has found it frozen. */
	bool busy;
	bool frozen;
	bool thawed;
};

/* What a thread tells the main one. `value`: of a freeze 0 or the errno, of a thaw how many FITHAW it took. */
struct result {
	int mount;
	enum order order;
	int value;
};

static struct mount mounts[MOST_MOUNTS];
static int mount_count;
/* What the threads write to, and our end. */
static int result_write_fd;
static int result_read_fd;

/* --- a mount's thread */

static int perform(int fd, enum order order)
{
	if (order == ORDER_FREEZE)
		return ioctl(fd, FIFREEZE, 0) == 0 ? 0 : errno;
	int count = 0;
	while (ioctl(fd, FITHAW, 0) == 0)
		count++;
	return count;
}

static void *serve_mount(void *argument)
{
	struct mount *mount = argument;
	struct result result = { .mount = (int)(mount - mounts) };
	for (;;) {
		while (sem_wait(&mount->ordered) < 0)
			;
		result.order = mount->order;
		result.value = perform(mount->fd, result.order);
		while (write(result_write_fd, &result, sizeof result) < 0 && errno == EINTR)
			;
	}
	return NULL;
}

static bool start_thread(struct mount *mount)
{
	pthread_attr_t attributes;
	pthread_t thread;
	if (sem_init(&mount->ordered, 0, 0) < 0 || pthread_attr_init(&attributes) != 0)
		return false;
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	bool started = pthread_create(&thread, &attributes, serve_mount, mount) == 0;
	pthread_attr_destroy(&attributes);
	return started;
}

/* --- the main thread */

static void give_order(struct mount *mount, enum order order)
{
	mount->order = order;
	mount->busy = true;
	sem_post(&mount->ordered);
}

/* Takes note of what a thread has done. */
static void note(const struct result *result)
{
	struct mount *mount = &mounts[result->mount];
	mount->busy = false;
	if (result->order == ORDER_FREEZE)
		mount->frozen = result->value == 0;
	else if (result->value > 0)
		mount->thawed = true;
}

bool mounts_set_up(void)
{
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return false;
	result_read_fd = pipe_fds[0];
	result_write_fd = pipe_fds[1];
	fcntl(result_read_fd, F_SETFL, O_NONBLOCK);
	return true;
}

int mounts_add(int fd)
{
	if (mount_count == MOST_MOUNTS)
		return EMFILE;
	mounts[mount_count].fd = fd;
	if (!start_thread(&mounts[mount_count]))
		return EAGAIN;
	mount_count++;
	return 0;
}

bool mounts_is_idle(int number)
{
	return number < mount_count && !mounts[number].busy;
}

void mounts_freeze(int number)
{
	give_order(&mounts[number], ORDER_FREEZE);
}

int mounts_result_fd(void)
{
	return result_read_fd;
}

/* --- results and the thaw */

static long long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for one result and takes note of it, at most `timeout_ms` (negative: no limit). False if none came. */
static bool await_result(long long timeout_ms, struct result *result)
{
	struct pollfd readable = { .fd = result_read_fd, .events = POLLIN };
	if (poll(&readable, 1, timeout_ms < 0 ? -1 : (int)timeout_ms) <= 0)
		return false;
	if (read(result_read_fd, result, sizeof *result) != sizeof *result)
		return false;
	note(result);
	return true;
}

bool mounts_take_result(int *failure)
{
	struct result result;
	if (!await_result(0, &result))
		return false;
	*failure = result.value;
	return true;
}

/* The same while everything is being thawed: a freeze that returns only now is undone. */
static void await_thaw(long long timeout_ms)
{
	struct result result;
	if (await_result(timeout_ms, &result) && result.order == ORDER_FREEZE)
		give_order(&mounts[result.mount], ORDER_THAW);
}

static bool any_busy(void)
{
	for (int at = 0; at < mount_count; at++)
		if (mounts[at].busy)
			return true;
	return false;
}

long mounts_thaw_all(bool by_whomever)
{
	for (int at = mount_count - 1; at >= 0; at--) {
		struct mount *mount = &mounts[at];
		long long deadline_ms = now_ms() + PATIENCE_MS;
		/* one that is being frozen has its turn below, when that is done */
		if (mount->busy || !(mount->frozen || by_whomever))
			continue;
		give_order(mount, ORDER_THAW);
		for (long long left_ms = PATIENCE_MS; mount->busy && left_ms > 0; left_ms = deadline_ms - now_ms())
			await_thaw(left_ms);
	}
	while (any_busy())
		await_thaw(-1);
	long count = 0;
	for (int at = 0; at < mount_count; at++)
		if (mounts[at].thawed)
			count++;
	return count;
}
