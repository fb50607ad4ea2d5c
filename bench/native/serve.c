/* The trivial server that shows how fast the client alone is: it looks for newlines and answers each with a canned reply. */
#include "wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 256 * 1024 };

int serve(const char *path, size_t reply_bytes) {
  if (reply_bytes < 2) reply_bytes = 2;
  char *request = malloc(RECEIVE_BYTES);
  /* as many short replies as fit, so that a burst is answered with one write */
  const size_t batch = reply_bytes < RECEIVE_BYTES ? RECEIVE_BYTES / reply_bytes : 1;
  char *replies = malloc(batch * reply_bytes);
  if (request == NULL || replies == NULL) fail("out of memory");
  memset(replies, 'x', batch * reply_bytes);
  for (size_t at = 1; at <= batch; at++) replies[at * reply_bytes - 1] = '\n';

  int listener = listen_at(path);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    ssize_t got;
    while ((got = recv(fd, request, RECEIVE_BYTES, 0)) > 0) {
      for (size_t lines = count_lines(request, (size_t)got); lines > 0;) {
        const size_t now = lines < batch ? lines : batch;
        send_all(fd, replies, now * reply_bytes);
        lines -= now;
      }
    }
    close(fd);
  }
}
