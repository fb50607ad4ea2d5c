/*
 * Rewrites CPUID, VMCALL and VMMCALL in chosen code into UD2, so that they can be seen at all: CPUID never faults, and where
 * the machine is itself a KVM guest a VMCALL from user mode is answered by KVM instead of faulting.
 * VMCALL 0F 01 C1 becomes 0F 0B C1: the last byte still tells the two hypercalls apart.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tracer.h"

#define MAX_RANGE (256u << 20)

int rewrites;
static const char *names[16];
static uint64_t *cpuids;
static size_t cpuid_count, cpuid_capacity;

void rewrite_add(const char *name)
{
    if (rewrites < (int)(sizeof names / sizeof *names)) names[rewrites++] = name;
}

int rewrite_wanted(const char *path)
{
    for (int i = 0; i < rewrites; i++) if (strstr(path, names[i])) return 1;
    return 0;
}

int was_cpuid(uint64_t address)
{
    for (size_t i = 0; i < cpuid_count; i++) if (cpuids[i] == address) return 1;
    return 0;
}

static void remember_cpuid(uint64_t address)
{
    if (was_cpuid(address)) return;
    if (cpuid_count == cpuid_capacity) {
        cpuid_capacity = cpuid_capacity ? cpuid_capacity * 2 : 64;
        if (!(cpuids = realloc(cpuids, cpuid_capacity * sizeof *cpuids))) die("realloc");
    }
    cpuids[cpuid_count++] = address;
}

void rewrite_range(pid_t tid, uint64_t low, uint64_t high, const char *path)
{
    static const unsigned char ud2[] = { 0x0f, 0x0b };
    size_t size = high - low;
    unsigned char *code;
    char memory[64];
    int fd, count = 0;
    if (size > MAX_RANGE || !(code = malloc(size))) return;
    snprintf(memory, sizeof memory, "/proc/%d/mem", tid);
    if ((fd = open(memory, O_RDWR | O_CLOEXEC)) < 0) { free(code); return; }
    ssize_t got = pread(fd, code, size, (off_t)low);
    for (size_t i = 0; got > 2 && i + 2 < (size_t)got; i++) {
        int cpuid = code[i] == 0x0f && code[i + 1] == 0xa2;
        int hypercall = code[i] == 0x0f && code[i + 1] == 0x01 && (code[i + 2] == 0xc1 || code[i + 2] == 0xd9);
        if (!cpuid && !hypercall) continue;
        if (pwrite(fd, ud2, sizeof ud2, (off_t)(low + i)) != sizeof ud2) continue;
        if (cpuid) remember_cpuid(low + i);
        count++;
        i += cpuid ? 1 : 2;
    }
    close(fd);
    free(code);
    NOTE("%s: %d instructions rewritten\n", path, count);
}

/* What an execve has mapped already. */
void rewrite_mapped(pid_t tid)
{
    char path[PATH_MAX], line[PATH_MAX + 128], rights[8];
    unsigned long low, high;
    FILE *maps;
    snprintf(path, sizeof path, "/proc/%d/maps", tid);
    if (!(maps = fopen(path, "r"))) return;
    while (fgets(line, sizeof line, maps)) {
        path[0] = 0;
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4095[^\n]", &low, &high, rights, path) < 4) continue;
        if (rights[2] == 'x' && rewrite_wanted(path)) rewrite_range(tid, low, high, path);
    }
    fclose(maps);
}
