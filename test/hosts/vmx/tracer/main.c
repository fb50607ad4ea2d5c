/*
 * vmx-tracer: runs a command as if it lived inside a VMware virtual machine.
 *
 * Every thread and descendant of the command is ptraced. When one of them faults on an instruction that would be a backdoor
 * call (IN on port 0x5658, REP INSB/OUTSB on port 0x5659, VMCALL/VMMCALL, each with the magic in EAX), its registers - and the
 * memory block of a high-bandwidth call - go to a host simulator over a unix socket; the answer becomes the result, the
 * instruction is skipped, the thread goes on. Any other signal passes through untouched. guard.c keeps the machine safe.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "tracer.h"

int verbose;
static pid_t command;
static volatile sig_atomic_t signal_to_forward;
static struct thread *threads;
static size_t thread_count, thread_capacity;

void die(const char *what)
{
    fprintf(stderr, "vmx-tracer: %s: %s\n", what, strerror(errno));
    exit(125);
}

static struct thread *thread_of(pid_t tid)
{
    for (size_t i = 0; i < thread_count; i++) if (threads[i].tid == tid) return &threads[i];
    if (thread_count == thread_capacity) {
        thread_capacity = thread_capacity ? thread_capacity * 2 : 64;
        if (!(threads = realloc(threads, thread_capacity * sizeof *threads))) die("realloc");
    }
    threads[thread_count] = (struct thread){ .tid = tid };
    return &threads[thread_count++];
}

/* 1 if it was known. */
static int forget_thread(pid_t tid)
{
    for (size_t i = 0; i < thread_count; i++) if (threads[i].tid == tid) { threads[i] = threads[--thread_count]; return 1; }
    return 0;
}

static void on_signal(int number) { signal_to_forward = number; }

static void executed(pid_t tid)
{
    uint64_t registers[REGISTERS] = { 0 };
    char path[64], argv[4096];
    snprintf(path, sizeof path, "/proc/%d/cmdline", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, argv, sizeof argv) : 0;
    if (fd >= 0) close(fd);
    tell(EXECUTED, tid, registers, argv, size > 0 ? (uint32_t)size : 0);
    if (rewrites) rewrite_mapped(tid);
}

static void filtered(pid_t tid, struct thread *thread)
{
    struct user_regs_struct user;
    thread->maps_code = 0;
    if (ptrace(PTRACE_GETREGS, tid, 0, &user) == 0) {
        if (user.orig_rax != SYS_mmap) guard_call(tid, &user, thread);
        else if (rewrites && (int)user.r8 >= 0) {
            char link[64], target[PATH_MAX];
            snprintf(link, sizeof link, "/proc/%d/fd/%d", tid, (int)user.r8);
            ssize_t length = readlink(link, target, sizeof target - 1);
            if (length > 0) { target[length] = 0; thread->maps_code = rewrite_wanted(target); }
        }
    }
    ptrace(thread->maps_code ? PTRACE_SYSCALL : PTRACE_CONT, tid, 0, 0);
}

/* Start or end of an mmap whose result is to be rewritten. */
static void mapped(pid_t tid, struct thread *thread)
{
    struct user_regs_struct user;
    if (thread->maps_code && ptrace(PTRACE_GETREGS, tid, 0, &user) == 0) {
        if ((long long)user.rax == -ENOSYS) { ptrace(PTRACE_SYSCALL, tid, 0, 0); return; }
        thread->maps_code = 0;
        if (user.rax < (unsigned long long)-4095) rewrite_range(tid, user.rax, user.rax + user.rsi, "mmap");
    }
    ptrace(PTRACE_CONT, tid, 0, 0);
}

/*
 * A thread is about to end. It is let go here: a traced process that has ended belongs to the tracer first, and a parent that
 * hears of it earlier through a pidfd (glib does) would find nothing to wait for and take the exit status for 0.
 */
static void ending(pid_t tid)
{
    unsigned long status = 0;
    ptrace(PTRACE_GETEVENTMSG, tid, 0, &status);
    uint64_t registers[REGISTERS] = { (uint32_t)status };
    if (process_of(tid) == tid) tell(ENDED, tid, registers, NULL, 0);
    forget_thread(tid);
    ptrace(PTRACE_DETACH, tid, 0, 0);
}

static void stopped(pid_t tid, int status)
{
    struct thread *thread = thread_of(tid);
    int number = WSTOPSIG(status);
    unsigned event = (unsigned)status >> 16;
    if (event == PTRACE_EVENT_STOP) {
        int group_stop = number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
        ptrace(group_stop ? PTRACE_LISTEN : PTRACE_CONT, tid, 0, 0);
    } else if (event == PTRACE_EVENT_EXEC) {
        executed(tid);
        ptrace(PTRACE_CONT, tid, 0, 0);
    } else if (event == PTRACE_EVENT_SECCOMP) {
        filtered(tid, thread);
    } else if (event == PTRACE_EVENT_EXIT) {
        ending(tid);
    } else if (event) {
        ptrace(PTRACE_CONT, tid, 0, 0);         /* fork, vfork, clone */
    } else if (number == (SIGTRAP | 0x80)) {
        mapped(tid, thread);
    } else if ((number == SIGSEGV || number == SIGILL) && emulate(tid, number, thread)) {
        ptrace(PTRACE_CONT, tid, 0, 0);
    } else {
        if (number == SIGSEGV || number == SIGILL) NOTE("%d: signal %d passed on\n", tid, number);
        ptrace(PTRACE_CONT, tid, 0, (void *)(long)number);
    }
}

static void start(char **argv, const int go[2])
{
    char byte;
    close(go[1]);
    while (read(go[0], &byte, 1) < 0 && errno == EINTR) ;
    guard_install();
    execvp(argv[0], argv);
    fprintf(stderr, "vmx-tracer: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void usage(void)
{
    fprintf(stderr,
        "usage: vmx-tracer -s SOCKET [-p NAME]... [-x] [-v] [--] command args...\n"
        "  -s SOCKET  unix socket of the host simulator\n"
        "  -p NAME    rewrite CPUID/VMCALL/VMMCALL in code mapped from paths that contain NAME\n"
        "  -x         leave when the command itself ends (kills its descendants)\n"
        "  -v         verbose\n"
        "SIGTERM, SIGINT and SIGHUP are forwarded to the command; its exit status is returned.\n");
    exit(125);
}

int main(int argc, char **argv)
{
    const char *path = NULL;
    int option, leave_with_command = 0, exit_code = 0, go[2];
    while ((option = getopt(argc, argv, "+s:p:xv")) != -1) switch (option) {
        case 's': path = optarg; break;
        case 'p': rewrite_add(optarg); break;
        case 'x': leave_with_command = 1; break;
        case 'v': verbose = 1; break;
        default: usage();
    }
    if (optind >= argc || !path) usage();
    link_open(path);
    if (pipe2(go, O_CLOEXEC)) die("pipe");
    command = fork();
    if (command < 0) die("fork");
    if (!command) start(argv + optind, go);
    close(go[0]);
    if (ptrace(PTRACE_SEIZE, command, 0, (void *)(long)(PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
               PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACESECCOMP))) die("PTRACE_SEIZE");
    struct sigaction forward = { .sa_handler = on_signal };
    sigaction(SIGTERM, &forward, NULL);
    sigaction(SIGINT, &forward, NULL);
    sigaction(SIGHUP, &forward, NULL);
    if (write(go[1], "g", 1) != 1) die("write");
    close(go[1]);

    for (;;) {
        int status;
        if (signal_to_forward) { kill(command, signal_to_forward); signal_to_forward = 0; }
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0) {
            if (errno == EINTR) continue;
            break;
        }
        if (WIFSTOPPED(status)) { stopped(tid, status); continue; }
        if (!WIFEXITED(status) && !WIFSIGNALED(status)) continue;
        uint64_t registers[REGISTERS] = { (uint32_t)status };
        int leader = process_of(tid) == tid;
        /* still known: it was killed, without a stop before its end */
        if (forget_thread(tid) && leader) tell(ENDED, tid, registers, NULL, 0);
        if (tid != command) continue;
        exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (leave_with_command) break;
    }
    return exit_code;
}
