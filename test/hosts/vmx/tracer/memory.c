/* Looks into the traced processes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/uio.h>
#include "tracer.h"

/* The process (thread group) that a thread belongs to; the thread itself if it is gone. */
pid_t process_of(pid_t tid)
{
    char path[64], line[128];
    int pid = tid;
    FILE *status;
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    if (!(status = fopen(path, "r"))) return tid;
    while (fgets(line, sizeof line, status)) if (sscanf(line, "Tgid: %d", &pid) == 1) break;
    fclose(status);
    return pid;
}

ssize_t peek(pid_t tid, uint64_t address, void *buffer, size_t size)
{
    struct iovec here = { buffer, size }, there = { (void *)address, size };
    return process_vm_readv(tid, &here, 1, &there, 1, 0);
}

ssize_t poke(pid_t tid, uint64_t address, const void *buffer, size_t size)
{
    struct iovec here = { (void *)buffer, size }, there = { (void *)address, size };
    return process_vm_writev(tid, &here, 1, &there, 1, 0);
}

/* Length of the text read; always terminated. */
size_t peek_text(pid_t tid, uint64_t address, char *buffer, size_t capacity)
{
    size_t length = 0;
    while (length + 1 < capacity && peek(tid, address + length, buffer + length, 1) == 1 && buffer[length]) length++;
    buffer[length] = 0;
    return length;
}
