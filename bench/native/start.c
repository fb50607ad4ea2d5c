/* Times the start of programs: posix_spawn from this small process costs what an init system's does. */
#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static const char PING[] = "{\"execute\":\"guest-ping\"}\n";

static pid_t spawn_program(char **argv) {
  pid_t pid;
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", 0, 0);
  posix_spawn_file_actions_addopen(&files, 1, "/dev/null", 1, 0);
  posix_spawn_file_actions_addopen(&files, 2, "/dev/null", 1, 0);
  errno = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
  if (errno != 0) fail(argv[0]);
  return pid;
}

int time_start(const char *path, char **argv) {
  const uint64_t start = now_ns();
  const pid_t pid = spawn_program(argv);
  int fd = connect_to(path, 20000);
  send_all(fd, PING, strlen(PING));
  char reply[256];
  size_t got = 0;
  do got += receive_some(fd, reply + got, sizeof reply - got);
  while (reply[got - 1] != '\n' && got < sizeof reply);
  const uint64_t end = now_ns();
  kill(pid, SIGKILL);
  waitpid(pid, NULL, 0);
  printf("{\"ns\":%" PRIu64 "}\n", end - start);
  return 0;
}

int time_run(char **argv) {
  const uint64_t start = now_ns();
  const pid_t pid = spawn_program(argv);
  int status;
  waitpid(pid, &status, 0);
  const uint64_t end = now_ns();
  errno = 0;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("the program failed");
  printf("{\"ns\":%" PRIu64 "}\n", end - start);
  return 0;
}
