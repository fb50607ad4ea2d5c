/* The benchmark's client and its trivial server: what both share. */
#ifndef WIRE_H
#define WIRE_H
#include <stddef.h>
#include <stdint.h>

/* Monotonic clock in ns. */
uint64_t now_ns(void);

/* Says what failed (with errno if it is set) and ends the program. */
void fail(const char *what) __attribute__((noreturn));

/* Connects a stream socket to `path`, trying again every 0.2 ms for `limit_ms` while nobody listens there. */
int connect_to(const char *path, unsigned limit_ms);

int listen_at(const char *path);

/* Sends all; ends the program if the peer is gone. */
void send_all(int fd, const char *bytes, size_t size);

/* One recv into `buffer` that must give something. */
size_t receive_some(int fd, char *buffer, size_t size);

size_t count_lines(const char *bytes, size_t size);

/* The program's modes. */
int talk(const char *path);
int serve(const char *path, size_t reply_bytes);
int time_start(const char *path, char **argv);
int time_run(char **argv);

#endif
