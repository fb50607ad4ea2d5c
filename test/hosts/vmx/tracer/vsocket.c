/*
 * vSockets are led to unix sockets named <socket of the simulator>.vsock.<port>, so that no real hypervisor is ever spoken to.
 * Where nobody listens the connect fails, as on a host without the vsocket services.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include "tracer.h"

/* 1 when the call was one on a vsocket; the thread stays stopped. */
int vsocket_call(pid_t tid, struct user_regs_struct *user)
{
    struct { uint16_t family, zero; uint32_t port, cid; } address = { 0, 0, 0, 0 };
    uint64_t registers[REGISTERS] = { user->orig_rax, user->rdi, 0, 0, 0, 0, 0 };
    switch (user->orig_rax) {
    case SYS_socket:
        user->rdi = AF_UNIX;
        user->rdx = 0;
        ptrace(PTRACE_SETREGS, tid, 0, user);
        return 1;
    case SYS_setsockopt:
        break;
    case SYS_getsockopt: {
        uint64_t buffer_size = 262144;
        poke(tid, user->r10, &buffer_size, sizeof buffer_size);
        break;
    }
    case SYS_bind: case SYS_connect: {
        if (peek(tid, user->rsi, &address, sizeof address) != (ssize_t)sizeof address || address.family != AF_VSOCK) return 1;
        registers[CX] = address.port;
        registers[DX] = address.cid;
        tell(SYSTEM_CALL, tid, registers, NULL, 0);
        if (user->orig_rax == SYS_bind) break;
        struct sockaddr_un local = { .sun_family = AF_UNIX };
        /* below the red zone of the caller's stack */
        uint64_t at = (user->rsp - 4096) & ~15ull;
        snprintf(local.sun_path, sizeof local.sun_path, "%s.vsock.%u", simulator_path, address.port);
        if (poke(tid, at, &local, sizeof local) == (ssize_t)sizeof local) {
            user->rsi = at;
            user->rdx = sizeof local;
            ptrace(PTRACE_SETREGS, tid, 0, user);
        }
        return 1;
    }
    default:
        return 0;
    }
    user->orig_rax = (unsigned long long)-1;
    user->rax = 0;
    ptrace(PTRACE_SETREGS, tid, 0, user);
    return 1;
}
