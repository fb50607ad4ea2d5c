/*
 * The guard, always on: system calls by which a guest agent would change the machine under test are told to the simulator and
 * answered as successful instead of being executed: setting or slewing the clock, reboot(2), freezing and thawing file systems.
 * Programs that shut down are replaced by /bin/true. iopl and ioperm are faked too: a privileged IN would run on the real port,
 * unseen by the tracer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "tracer.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static const char *const shutdown_words[] = { "shutdown", "halt", "poweroff", "reboot", "kexec" };

/* Runs in the command's process before it is executed. Each test falls through to the next when it doesn't match. */
void guard_install(void)
{
    static const int always[] = { SYS_execve, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime, SYS_reboot, SYS_iopl,
                                  SYS_ioperm, SYS_bind, SYS_connect };
    static const int options[] = { SYS_setsockopt, SYS_getsockopt };
    struct sock_filter code[64];
    unsigned short n = 0;
#define ADD(...) code[n++] = (struct sock_filter)__VA_ARGS__
#define LOAD(offset) ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset))
#define ARGUMENT(i) LOAD(offsetof(struct seccomp_data, args[i]))
#define SKIP_UNLESS(value, skip) ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), 0, skip))
#define TRACE ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE))
#define ALLOW ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW))
    LOAD(offsetof(struct seccomp_data, arch));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));    /* 32-bit calls would pass unguarded */
    LOAD(offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < COUNT(always); i++) { SKIP_UNLESS(always[i], 1); TRACE; }
    SKIP_UNLESS(SYS_mmap, 4);
    ARGUMENT(2);
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1));
    TRACE; ALLOW;
    SKIP_UNLESS(SYS_socket, 4);
    ARGUMENT(0);
    SKIP_UNLESS(AF_VSOCK, 1);
    TRACE; ALLOW;
    for (size_t i = 0; i < COUNT(options); i++) {
        SKIP_UNLESS(options[i], 4);
        ARGUMENT(1);
        SKIP_UNLESS(AF_VSOCK, 1);
        TRACE; ALLOW;
    }
    SKIP_UNLESS(SYS_ioctl, 5);
    ARGUMENT(1);
    SKIP_UNLESS(FIFREEZE, 1);
    TRACE;
    SKIP_UNLESS(FITHAW, 1);
    TRACE;
    ALLOW;
    struct sock_fprog program = { n, code };
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) return;
    /* without CAP_SYS_ADMIN */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) die("seccomp");
}

static int shuts_down(const char *word)
{
    for (size_t i = 0; i < COUNT(shutdown_words); i++) if (!strcmp(word, shutdown_words[i])) return 1;
    return 0;
}

static void guard_execve(pid_t tid, struct user_regs_struct *user, uint64_t registers[REGISTERS])
{
    static const char harmless[] = "/bin/true";
    char path[PATH_MAX], argv[4096];
    size_t size = 0;
    uint64_t argument;
    int hit;
    peek_text(tid, user->rdi, path, sizeof path);
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    hit = shuts_down(base);
    for (size_t i = 0; i < 32 && size + 1 < sizeof argv && peek(tid, user->rsi + 8 * i, &argument, 8) == 8 && argument; i++) {
        size_t at = size;
        size += peek_text(tid, argument, argv + size, sizeof argv - size) + 1;
        if (!strcmp(base, "systemctl") || !strcmp(base, "busybox")) hit |= shuts_down(argv + at);
    }
    if (!hit) return;
    uint64_t at = (user->rsp - 4096) & ~15ull;
    /* if even this can't be written, the call must still not happen */
    if (poke(tid, at, harmless, sizeof harmless) == (ssize_t)sizeof harmless) user->rdi = at;
    else user->orig_rax = (unsigned long long)-1;
    ptrace(PTRACE_SETREGS, tid, 0, user);
    tell(SYSTEM_CALL, tid, registers, argv, (uint32_t)size);
}

/* What the kernel would answer to FIFREEZE on this kind of file system. */
static long freeze_result(const char *path)
{
    struct statfs file_system;
    if (statfs(path, &file_system)) return 0;
    switch ((uint32_t)file_system.f_type) {
    case EXT4_SUPER_MAGIC: case XFS_SUPER_MAGIC: case BTRFS_SUPER_MAGIC: case REISERFS_SUPER_MAGIC: case F2FS_SUPER_MAGIC:
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

/* A system call that the filter stopped; the thread stays stopped. */
void guard_call(pid_t tid, struct user_regs_struct *user, struct thread *thread)
{
    uint64_t registers[REGISTERS] = { user->orig_rax, user->rdi, user->rsi, user->rdx, 0, 0, 0 };
    char data[4096];
    size_t size = 0;
    long result;
    if (vsocket_call(tid, user)) return;
    switch (user->orig_rax) {
    case SYS_execve:
        guard_execve(tid, user, registers);
        return;
    case SYS_settimeofday:
        size = 16;
        if (peek(tid, user->rdi, data, size) != (ssize_t)size) size = 0;
        break;
    case SYS_clock_settime:
        size = 16;
        if (peek(tid, user->rsi, data, size) != (ssize_t)size) size = 0;
        break;
    case SYS_adjtimex: case SYS_clock_adjtime: {
        uint32_t modes = 0;
        size = 208;                             /* struct timex */
        if (peek(tid, user->orig_rax == SYS_adjtimex ? user->rdi : user->rsi, data, size) != (ssize_t)size) size = 0;
        else memcpy(&modes, data, 4);
        if (!modes) return;                     /* only reads */
        break;
    }
    case SYS_reboot:
        break;
    case SYS_iopl:
        thread->io_privilege = (int)user->rdi;
        break;
    case SYS_ioperm:
        thread->io_privilege = user->rdx ? 3 : 0;
        break;
    case SYS_ioctl: {
        char link[64];
        snprintf(link, sizeof link, "/proc/%d/fd/%d", tid, (int)user->rdi);
        ssize_t length = readlink(link, data, sizeof data - 1);
        size = length > 0 ? (size_t)length : 0;
        data[size] = 0;
        registers[SI] = (uint64_t)freeze_result(data);
        break;
    }
    default:
        return;
    }
    tell(SYSTEM_CALL, tid, registers, data, (uint32_t)size);
    result = (long)registers[SI];               /* the simulator may have another one */
    user->orig_rax = (unsigned long long)-1;
    user->rax = (unsigned long long)result;
    ptrace(PTRACE_SETREGS, tid, 0, user);
}
