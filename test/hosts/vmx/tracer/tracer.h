/*
 * vmx-tracer runs a command as if it lived inside a VMware virtual machine; main.c says how, link.c has the wire format.
 */
#ifndef TRACER_H
#define TRACER_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* What the simulator is asked or told. */
enum kind {
    LOW_BANDWIDTH = 1,
    HIGH_BANDWIDTH_OUT = 2,     /* guest to host */
    HIGH_BANDWIDTH_IN = 3,
    CPUID = 4,                  /* ax leaf, cx subleaf; dx si di bp: the machine's own eax ebx ecx edx */
    EXECUTED = 5,               /* data: argv */
    ENDED = 6,                  /* ax: wait status */
    SYSTEM_CALL = 7,            /* ax number, bx cx dx arguments, si faked result (the answer's counts); data: path, argv, struct */
};
/* Added to the kind. */
enum { BY_VMCALL = 0x100, BY_VMMCALL = 0x200, PRIVILEGED = 0x400 };

/* Order of the registers on the wire. */
enum { AX, BX, CX, DX, SI, DI, BP, REGISTERS };

/* One thread of the command, as far as it must be remembered between two stops. */
struct thread {
    pid_t tid;
    int maps_code;              /* an mmap of a file to rewrite is under way */
    int io_privilege;           /* last level asked for by iopl(2)/ioperm(2) */
};

extern int verbose;
#define NOTE(...) do { if (verbose) fprintf(stderr, "vmx-tracer: " __VA_ARGS__); } while (0)
void die(const char *what) __attribute__((noreturn));

/* link.c */
extern const char *simulator_path;
void link_open(const char *path);
int ask(uint32_t kind, pid_t tid, uint64_t registers[REGISTERS], const void *in, uint32_t in_size, void **out, uint32_t *out_size);
void tell(uint32_t kind, pid_t tid, uint64_t registers[REGISTERS], const void *in, uint32_t in_size);

/* memory.c */
pid_t process_of(pid_t tid);
ssize_t peek(pid_t tid, uint64_t address, void *buffer, size_t size);
ssize_t poke(pid_t tid, uint64_t address, const void *buffer, size_t size);
size_t peek_text(pid_t tid, uint64_t address, char *buffer, size_t capacity);

/* rewrite.c */
extern int rewrites;
void rewrite_add(const char *name);
int rewrite_wanted(const char *path);
void rewrite_range(pid_t tid, uint64_t low, uint64_t high, const char *path);
void rewrite_mapped(pid_t tid);
int was_cpuid(uint64_t address);

/* instructions.c */
int emulate(pid_t tid, int signal, const struct thread *thread);

/* guard.c */
void guard_install(void);
void guard_call(pid_t tid, struct user_regs_struct *user, struct thread *thread);

/* vsocket.c */
int vsocket_call(pid_t tid, struct user_regs_struct *user);
#endif
