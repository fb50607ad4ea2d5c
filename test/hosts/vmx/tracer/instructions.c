/* The faults: decodes the instruction, asks the simulator, puts its answer into the registers and steps over. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include "tracer.h"

#define MAGIC 0x564D5868u
#define PORT_LOW 0x5658u
#define PORT_HIGH 0x5659u
#define MAX_BLOCK (4u << 20)

static int emulate_cpuid(pid_t tid, struct user_regs_struct *user)
{
    unsigned a, b, c, d;
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"((unsigned)user->rax), "c"((unsigned)user->rcx));
    uint64_t registers[REGISTERS] = { (uint32_t)user->rax, 0, (uint32_t)user->rcx, a, b, c, d };
    if (!ask(CPUID, tid, registers, NULL, 0, NULL, NULL)) {
        a = (unsigned)registers[AX]; b = (unsigned)registers[BX]; c = (unsigned)registers[CX]; d = (unsigned)registers[DX];
    }
    user->rax = a; user->rbx = b; user->rcx = c; user->rdx = d;
    user->rip += 2;
    return ptrace(PTRACE_SETREGS, tid, 0, user) == 0;
}

/* Kind of the backdoor call at the program counter and its size in bytes; 0 when it is none. */
static uint32_t decode(int signal, const unsigned char code[4], uint32_t port, unsigned *size)
{
    *size = 2;
    if (signal == SIGSEGV) {
        if ((code[0] == 0xed || code[0] == 0xef) && port == PORT_LOW) { *size = 1; return LOW_BANDWIDTH; }
        if (code[0] == 0xf3 && code[1] == 0x6e && port == PORT_HIGH) return HIGH_BANDWIDTH_OUT;
        if (code[0] == 0xf3 && code[1] == 0x6c && port == PORT_HIGH) return HIGH_BANDWIDTH_IN;
        return 0;
    }
    if (code[0] != 0x0f || (code[1] != 0x01 && code[1] != 0x0b) || (code[2] != 0xc1 && code[2] != 0xd9)) return 0;
    *size = 3;
    /* a hypercall has no port: bit 0 is high bandwidth, bit 1 says guest to host */
    uint32_t kind = !(port & 1) ? LOW_BANDWIDTH : (port & 2) ? HIGH_BANDWIDTH_OUT : HIGH_BANDWIDTH_IN;
    return kind | (code[2] == 0xc1 ? BY_VMCALL : BY_VMMCALL);
}

/* 1 when the instruction has been emulated, 0 when the signal is the program's own. */
int emulate(pid_t tid, int signal, const struct thread *thread)
{
    struct user_regs_struct user;
    unsigned char code[4] = { 0 };
    void *block = NULL, *answer = NULL;
    uint32_t block_size = 0, answer_size = 0;
    unsigned size;

    if (ptrace(PTRACE_GETREGS, tid, 0, &user)) return 0;
    /* the instruction may be the last one of its page */
    if (peek(tid, user.rip, code, 4) < 3 && peek(tid, user.rip, code, 2) < 2 && peek(tid, user.rip, code, 1) < 1) return 0;
    if (signal == SIGILL && code[0] == 0x0f && code[1] == 0x0b && was_cpuid(user.rip)) return emulate_cpuid(tid, &user);
    if ((uint32_t)user.rax != MAGIC) return 0;
    uint32_t kind = decode(signal, code, (uint32_t)(user.rdx & 0xffff), &size);
    if (!kind) return 0;

    if ((kind & 0xff) == HIGH_BANDWIDTH_OUT && user.rcx > 0) {
        if (user.rcx > MAX_BLOCK) return 0;
        block_size = (uint32_t)user.rcx;
        if (!(block = malloc(block_size))) die("malloc");
        if (peek(tid, user.rsi, block, block_size) != (ssize_t)block_size) { free(block); return 0; }
    }
    uint64_t registers[REGISTERS] = { user.rax, user.rbx, user.rcx, user.rdx, user.rsi, user.rdi, user.rbp };
    int refused = ask(kind | (thread->io_privilege ? PRIVILEGED : 0), tid, registers, block, block_size, &answer, &answer_size);
    free(block);
    if (refused) { free(answer); return 0; }
    if ((kind & 0xff) == HIGH_BANDWIDTH_IN && answer_size) {
        if (answer_size > user.rcx) answer_size = (uint32_t)user.rcx;
        if (poke(tid, user.rdi, answer, answer_size) != (ssize_t)answer_size) NOTE("%d: no room for the answer\n", tid);
    }
    free(answer);
    user.rax = registers[AX]; user.rbx = registers[BX]; user.rcx = registers[CX]; user.rdx = registers[DX];
    user.rsi = registers[SI]; user.rdi = registers[DI]; user.rbp = registers[BP];
    user.rip += size;
    return ptrace(PTRACE_SETREGS, tid, 0, &user) == 0;
}
