/*
 * The benchmark's client: in C and blocking, so that it is never the limit (bench/client.ts drives it).
 *
 *   bench-client talk SOCKET                 connects, then takes orders on stdin (talk.c)
 *   bench-client serve SOCKET REPLY_BYTES    the trivial server: a reply of so many bytes to every line
 *   bench-client start SOCKET PROGRAM ARG…   time from spawning an agent until it answers a ping
 *   bench-client run PROGRAM ARG…            time from spawning a program until it has exited
 */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  errno = 0;
  if (argc == 3 && strcmp(argv[1], "talk") == 0) return talk(argv[2]);
  if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(argv[2], strtoull(argv[3], NULL, 10));
  if (argc >= 4 && strcmp(argv[1], "start") == 0) return time_start(argv[2], argv + 3);
  if (argc >= 3 && strcmp(argv[1], "run") == 0) return time_run(argv + 2);
  fputs("usage: bench-client talk|serve|start|run ...\n", stderr);
  return 2;
}
