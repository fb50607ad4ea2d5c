/*
 * The client proper. Orders come on stdin as a line and so many bytes of prebuilt request; the result is one line of JSON:
 *
 *   exchange COUNT OUTSTANDING LINES BYTES   sends the request COUNT times, at most OUTSTANDING of them unanswered; each is
 *                                            answered by LINES lines
 *   until MARKER BYTES                       sends it once, receives until MARKER and a newline end what has come
 *   exec SLEEP_US BYTES                      sends a guest-exec, then polls guest-exec-status until it says exited,
 *                                            with a pause of SLEEP_US between polls (0: none)
 *
 * What is received is dropped; only newlines are looked for, and only at the end where one line is awaited. Times are in ns:
 * of the whole (ns), per request (p50, p99, max), and the longest silences between lines (gap99, gapMax). "first" is the
 * beginning of what came, in hexadecimal.
 */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE_BYTES = 256 * 1024, FIRST_BYTES = 512, TAIL_BYTES = 256 };

static char received[RECEIVE_BYTES];
static char first[FIRST_BYTES];
static size_t first_size;

static void keep_first(const char *bytes, size_t size) {
  const size_t room = FIRST_BYTES - first_size;
  const size_t kept = size < room ? size : room;
  memcpy(first + first_size, bytes, kept);
  first_size += kept;
}

static void print_first(void) {
  fputs(",\"first\":\"", stdout);
  for (size_t at = 0; at < first_size; at++) printf("%02x", (unsigned char)first[at]);
  fputs("\"}\n", stdout);
  fflush(stdout);
}

static int by_value(const void *left, const void *right) {
  const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return a < b ? -1 : a > b;
}

/* The value below which `share` of the sorted ones lie; 0 if there are none. */
static uint64_t quantile(const uint64_t *sorted, size_t count, double share) {
  if (count == 0) return 0;
  const size_t at = (size_t)(share * (double)count);
  return sorted[at < count ? at : count - 1];
}

static uint64_t *times(size_t count) {
  uint64_t *memory = calloc(count + 1, sizeof *memory);
  if (memory == NULL) fail("out of memory");
  return memory;
}

static void exchange(int fd, const char *request, size_t size, size_t count, size_t outstanding, size_t lines_each) {
  uint64_t *sent_at = times(count), *took = times(count), *gaps = times(count * lines_each);
  const size_t lines_wanted = count * lines_each;
  size_t sent = 0, sent_of_this = 0, lines = 0, answered = 0, gap_count = 0;
  uint64_t received_bytes = 0;
  const uint64_t start = now_ns();
  uint64_t last_line = start;
  while (lines < lines_wanted) {
    const bool may_send = sent < count && (sent_of_this > 0 || sent - answered < outstanding);
    if (may_send) {
      if (sent_of_this == 0) sent_at[sent] = now_ns();
      if (sent == answered) {
        /* nothing else is under way: the agent cannot be held up by replies that we do not read */
        send_all(fd, request + sent_of_this, size - sent_of_this);
        sent++, sent_of_this = 0;
      } else {
        const ssize_t now = send(fd, request + sent_of_this, size - sent_of_this, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (now < 0 && errno != EAGAIN) fail("send");
        if (now > 0) sent_of_this += (size_t)now;
        if (sent_of_this == size) sent++, sent_of_this = 0;
        struct pollfd readiness = {.fd = fd, .events = POLLIN | (now < 0 ? POLLOUT : 0)};
        poll(&readiness, 1, now < 0 ? 120000 : 0);
        if (!(readiness.revents & POLLIN)) continue;
      }
      if (sent < count && sent - answered < outstanding) continue;
    }
    const size_t got = receive_some(fd, received, RECEIVE_BYTES);
    if (first_size < FIRST_BYTES) keep_first(received, got);
    received_bytes += got;
    const size_t fresh =
        lines_each == 1 && outstanding == 1 ? received[got - 1] == '\n' : count_lines(received, got);
    if (fresh == 0) continue;
    const uint64_t now = now_ns();
    gaps[gap_count++] = now - last_line;
    last_line = now;
    lines += fresh;
    for (; answered < count && (answered + 1) * lines_each <= lines; answered++) took[answered] = now - sent_at[answered];
  }
  const uint64_t end = now_ns();
  errno = 0;
  if (lines != lines_wanted || sent != count) fail("more replies came than were awaited");
  qsort(took, count, sizeof *took, by_value);
  qsort(gaps, gap_count, sizeof *gaps, by_value);
  printf("{\"ns\":%" PRIu64 ",\"receivedBytes\":%" PRIu64 ",\"lines\":%zu", end - start, received_bytes, lines);
  printf(",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"max\":%" PRIu64, quantile(took, count, 0.5),
         quantile(took, count, 0.99), quantile(took, count, 1));
  printf(",\"gap99\":%" PRIu64 ",\"gapMax\":%" PRIu64, quantile(gaps, gap_count, 0.99), quantile(gaps, gap_count, 1));
  print_first();
  free(sent_at);
  free(took);
  free(gaps);
}

/* The last bytes of a stream, whatever pieces it comes in. */
struct tail {
  char bytes[TAIL_BYTES];
  size_t size;
};

static void keep_tail(struct tail *tail, const char *bytes, size_t size) {
  if (size >= TAIL_BYTES) {
    memcpy(tail->bytes, bytes + size - TAIL_BYTES, TAIL_BYTES);
    tail->size = TAIL_BYTES;
    return;
  }
  const size_t kept = tail->size + size <= TAIL_BYTES ? tail->size : TAIL_BYTES - size;
  memmove(tail->bytes, tail->bytes + tail->size - kept, kept);
  memcpy(tail->bytes + kept, bytes, size);
  tail->size = kept + size;
}

static bool ends_with_line(const struct tail *tail, const char *marker) {
  const size_t size = strlen(marker);
  return tail->size > size && tail->bytes[tail->size - 1] == '\n' &&
         memcmp(tail->bytes + tail->size - 1 - size, marker, size) == 0;
}

static void until(int fd, const char *request, size_t size, const char *marker) {
  struct tail tail = {.size = 0};
  uint64_t received_bytes = 0;
  size_t lines = 0, sent = 0;
  const uint64_t start = now_ns();
  while (sent < size || !ends_with_line(&tail, marker)) {
    if (sent < size) {
      const ssize_t now = send(fd, request + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (now < 0 && errno != EAGAIN) fail("send");
      if (now > 0) sent += (size_t)now;
      struct pollfd readiness = {.fd = fd, .events = POLLIN | (now < 0 ? POLLOUT : 0)};
      poll(&readiness, 1, now < 0 ? 120000 : 0);
      if (!(readiness.revents & POLLIN)) continue;
    }
    const size_t got = receive_some(fd, received, RECEIVE_BYTES);
    if (first_size < FIRST_BYTES) keep_first(received, got);
    keep_tail(&tail, received, got);
    received_bytes += got;
    lines += count_lines(received, got);
  }
  printf("{\"ns\":%" PRIu64 ",\"receivedBytes\":%" PRIu64 ",\"lines\":%zu", now_ns() - start, received_bytes, lines);
  print_first();
}

/* Receives one line. */
static void receive_line(int fd, struct tail *tail, uint64_t *received_bytes) {
  first_size = 0;
  tail->size = 0;
  do {
    const size_t got = receive_some(fd, received, RECEIVE_BYTES);
    if (first_size < FIRST_BYTES) keep_first(received, got);
    keep_tail(tail, received, got);
    *received_bytes += got;
  } while (tail->bytes[tail->size - 1] != '\n');
}

static const char *find(const char *bytes, size_t size, const char *text) {
  return memmem(bytes, size, text, strlen(text));
}

/* Whether the value of `"exited"` is true; large output may stand before or behind it. */
static bool says_exited(const struct tail *tail) {
  const char *places[] = {first, tail->bytes};
  const size_t sizes[] = {first_size, tail->size};
  for (int at = 0; at < 2; at++) {
    if (find(places[at], sizes[at], "\"exited\": true") || find(places[at], sizes[at], "\"exited\":true")) return true;
  }
  return false;
}

static void exec_program(int fd, const char *request, size_t size, unsigned sleep_us) {
  struct tail tail;
  uint64_t received_bytes = 0;
  size_t polls = 0;
  const uint64_t start = now_ns();
  send_all(fd, request, size);
  receive_line(fd, &tail, &received_bytes);
  const uint64_t started = now_ns();
  const char *pid = find(first, first_size, "\"pid\":");
  errno = 0;
  if (pid == NULL) fail("guest-exec gave no pid");
  char poll_request[128];
  snprintf(poll_request, sizeof poll_request, "{\"execute\":\"guest-exec-status\",\"arguments\":{\"pid\":%ld}}\n",
           strtol(pid + strlen("\"pid\":"), NULL, 10));
  do {
    if (sleep_us > 0) usleep(sleep_us);
    send_all(fd, poll_request, strlen(poll_request));
    receive_line(fd, &tail, &received_bytes);
    polls++;
    if (find(first, first_size, "\"error\"")) fail("guest-exec-status gave an error");
  } while (!says_exited(&tail));
  printf("{\"ns\":%" PRIu64 ",\"startNs\":%" PRIu64 ",\"polls\":%zu,\"receivedBytes\":%" PRIu64, now_ns() - start,
         started - start, polls, received_bytes);
  print_first();
}

int talk(const char *path) {
  int fd = connect_to(path, 20000);
  char order[256], marker[65];
  size_t count, outstanding, lines, size;
  unsigned sleep_us;
  while (fgets(order, sizeof order, stdin) != NULL) {
    enum { EXCHANGE, UNTIL, EXEC } kind;
    if (sscanf(order, "exchange %zu %zu %zu %zu", &count, &outstanding, &lines, &size) == 4) kind = EXCHANGE;
    else if (sscanf(order, "until %64s %zu", marker, &size) == 2) kind = UNTIL;
    else if (sscanf(order, "exec %u %zu", &sleep_us, &size) == 2) kind = EXEC;
    else fail("order not understood");
    char *request = malloc(size + 1);
    if (request == NULL) fail("out of memory");
    if (fread(request, 1, size, stdin) != size) fail("request cut short");
    first_size = 0;
    if (kind == EXCHANGE) exchange(fd, request, size, count, outstanding, lines);
    else if (kind == UNTIL) until(fd, request, size, marker);
    else exec_program(fd, request, size, sleep_us);
    free(request);
  }
  return 0;
}
