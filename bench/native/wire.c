/* Sockets, clock and errors of the benchmark's client. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void fail(const char *what) {
  if (errno != 0) fprintf(stderr, "bench client: %s: %s\n", what, strerror(errno));
  else fprintf(stderr, "bench client: %s\n", what);
  exit(1);
}

static struct sockaddr_un address_of(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) fail("socket path too long");
  strcpy(address.sun_path, path);
  return address;
}

int connect_to(const char *path, unsigned limit_ms) {
  const struct sockaddr_un address = address_of(path);
  const uint64_t deadline = now_ns() + limit_ms * 1000000ull;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  while (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
    if ((errno != ENOENT && errno != ECONNREFUSED) || now_ns() > deadline) fail("connect");
    usleep(200);
  }
  /* an agent that hangs shall end the benchmark, not hold it */
  const struct timeval limit = {.tv_sec = 60};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return fd;
}

int listen_at(const char *path) {
  const struct sockaddr_un address = address_of(path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) fail("listen");
  return fd;
}

void send_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) fail("send");
    bytes += sent;
    size -= (size_t)sent;
  }
}

size_t receive_some(int fd, char *buffer, size_t size) {
  for (;;) {
    const ssize_t got = recv(fd, buffer, size, 0);
    if (got > 0) return (size_t)got;
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = 0;
    fail(got == 0 ? "the agent closed the connection" : "recv");
  }
}

size_t count_lines(const char *bytes, size_t size) {
  size_t count = 0;
  const char *end = bytes + size;
  for (const char *at = bytes; at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) count++;
  return count;
}
