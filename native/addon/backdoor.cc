/**
 * VMware's backdoor: the one instruction that leaves the guest, in its five forms (spec vmware.md section 1). In any other
 * machine it faults. The handler for that knows the addresses of these instructions and nothing else: a fault there goes on
 * at the label beside it, every other signal goes to the handler that was there before (V8's, for WebAssembly). So
 * nothing is armed or disarmed, and all threads can be here at once.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/io.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "call.h"

/** In the order of the assembler below. */
struct Registers {
  uint64_t ax, bx, cx, dx, si, di, bp;
};

// uint32_t name(Registers*): loads all, executes, stores all; 1, or 0 without a store when the instruction faulted.
// r8-r15 and the stack are out of the host's reach.
#define BACKDOOR(name, instruction)      \
  __asm__(                               \
      ".text\n"                          \
      ".p2align 4\n"                     \
      ".type " #name ", @function\n"     \
      #name ":\n"                        \
      ".cfi_startproc\n"                 \
      "  pushq %rbx\n"                   \
      "  .cfi_adjust_cfa_offset 8\n"     \
      "  .cfi_rel_offset %rbx, 0\n"      \
      "  pushq %rbp\n"                   \
      "  .cfi_adjust_cfa_offset 8\n"     \
      "  .cfi_rel_offset %rbp, 0\n"      \
      "  movq %rdi, %r8\n"               \
      "  movq 0(%r8), %rax\n"            \
      "  movq 8(%r8), %rbx\n"            \
      "  movq 16(%r8), %rcx\n"           \
      "  movq 24(%r8), %rdx\n"           \
      "  movq 32(%r8), %rsi\n"           \
      "  movq 40(%r8), %rdi\n"           \
      "  movq 48(%r8), %rbp\n"           \
      #name "_at:\n"                     \
      "  " instruction "\n"              \
      "  movq %rax, 0(%r8)\n"            \
      "  movq %rbx, 8(%r8)\n"            \
      "  movq %rcx, 16(%r8)\n"           \
      "  movq %rdx, 24(%r8)\n"           \
      "  movq %rsi, 32(%r8)\n"           \
      "  movq %rdi, 40(%r8)\n"           \
      "  movq %rbp, 48(%r8)\n"           \
      "  movl $1, %eax\n"                \
      "1:\n"                             \
      "  popq %rbp\n"                    \
      "  .cfi_adjust_cfa_offset -8\n"    \
      "  .cfi_restore %rbp\n"            \
      "  popq %rbx\n"                    \
      "  .cfi_adjust_cfa_offset -8\n"    \
      "  .cfi_restore %rbx\n"            \
      "  ret\n"                          \
      "  .cfi_adjust_cfa_offset 16\n"    \
      "  .cfi_rel_offset %rbx, 8\n"      \
      "  .cfi_rel_offset %rbp, 0\n"      \
      #name "_faulted:\n"                \
      "  xorl %eax, %eax\n"              \
      "  jmp 1b\n"                       \
      ".cfi_endproc\n"                   \
      ".size " #name ", .-" #name "\n"); \
  extern "C" uint32_t name(Registers*);  \
  extern "C" const char name##_at[];     \
  extern "C" const char name##_faulted[]

#pragma GCC visibility push(hidden)
BACKDOOR(backdoor_in, "inl %dx, %eax");
BACKDOOR(backdoor_insb, "rep insb");
BACKDOOR(backdoor_outsb, "rep outsb");
BACKDOOR(backdoor_vmcall, "vmcall");
BACKDOOR(backdoor_vmmcall, "vmmcall");
#pragma GCC visibility pop

namespace {

struct {
  const char* at;
  const char* faulted;
} const instructions[] = {
    {backdoor_in_at, backdoor_in_faulted},           {backdoor_insb_at, backdoor_insb_faulted},
    {backdoor_outsb_at, backdoor_outsb_faulted},     {backdoor_vmcall_at, backdoor_vmcall_faulted},
    {backdoor_vmmcall_at, backdoor_vmmcall_faulted},
};

constexpr int faults[] = {SIGSEGV, SIGILL};
constexpr size_t fault_count = sizeof faults / sizeof *faults;
struct sigaction previous[fault_count];
pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
bool is_installed = false;

/** As if this handler were not there. */
void pass_on(int number, siginfo_t* info, void* context) {
  const struct sigaction& action = previous[number == SIGILL];
  if (action.sa_flags & SA_SIGINFO) {
    action.sa_sigaction(number, info, context);
    return;
  }
  bool was_sent = info->si_code <= 0;
  if (action.sa_handler == SIG_IGN && was_sent) return;
  if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(number);
    return;
  }
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(number, &standard, nullptr);
  // the instruction faults again, with the registers as they were; a signal that was sent must be sent again
  if (was_sent) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

void on_fault(int number, siginfo_t* info, void* context) {
  // only faults of the processor, which are positive: somebody's kill(2) may come anywhere
  if (info->si_code > 0) {
    auto& at = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
    for (const auto& instruction : instructions) {
      if (at != reinterpret_cast<greg_t>(instruction.at)) continue;
      at = reinterpret_cast<greg_t>(instruction.faulted);
      return;
    }
  }
  pass_on(number, info, context);
}

/** Once for the process, and for good: who installs a handler later keeps this one as the previous. */
void install_handler() {
  pthread_mutex_lock(&install_lock);
  if (!is_installed) {
    for (size_t i = 0; i < fault_count; i++) {
      sigaction(faults[i], nullptr, &previous[i]);
      struct sigaction action = previous[i];
      action.sa_flags = (action.sa_flags & (SA_ONSTACK | SA_NODEFER | SA_RESTART)) | SA_SIGINFO;
      action.sa_sigaction = on_fault;
      sigaction(faults[i], &action, nullptr);
    }
    is_installed = true;
  }
  pthread_mutex_unlock(&install_lock);
}

/** As src/native/addon.ts numbers them. */
enum How : int64_t { by_port, by_vmcall, by_vmmcall };

constexpr size_t register_count = 7;

/** The Uint32Array of seven registers; nullptr after a throw. */
template <size_t count>
uint32_t* register_array(napi_env env, Arguments<count>& call, size_t at) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, call[at], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_uint32_array || length != register_count) {
    call.fail_type("a Uint32Array of seven registers is expected");
    return nullptr;
  }
  return static_cast<uint32_t*>(data);
}

template <size_t count>
How how_to_call(Arguments<count>& call, size_t at) {
  int64_t how = call.integer(at);
  if (!call.failed && (how < by_port || how > by_vmmcall)) call.fail_range("not a way to call the host");
  return static_cast<How>(how);
}

Registers load(const uint32_t* from) {
  return {from[0], from[1], from[2], from[3], from[4], from[5], from[6]};
}

napi_value finish(napi_env env, bool worked, const Registers& registers, uint32_t* to) {
  if (worked) {
    const uint64_t values[register_count] = {registers.ax, registers.bx, registers.cx, registers.dx,
                                             registers.si, registers.di, registers.bp};
    for (size_t i = 0; i < register_count; i++) to[i] = static_cast<uint32_t>(values[i]);
  }
  napi_value result = nullptr;
  napi_get_boolean(env, worked, &result);
  return result;
}

napi_value backdoor_call(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  How how = how_to_call(call, 0);
  uint32_t* array = register_array(env, call, 1);
  if (call.failed) return nullptr;
  install_handler();
  Registers registers = load(array);
  bool worked = how == by_port     ? backdoor_in(&registers)
                : how == by_vmcall ? backdoor_vmcall(&registers)
                                   : backdoor_vmmcall(&registers);
  return finish(env, worked, registers, array);
}

/** The host copies past the guest's page tables: every page must be there, and be this process's own if it is written to. */
void make_resident(Bytes bytes, bool is_written) {
  constexpr size_t page = 4096;
  for (size_t at = 0; at < bytes.length; at += page - (reinterpret_cast<uintptr_t>(bytes.data + at) % page)) {
    volatile uint8_t* byte = bytes.data + at;
    uint8_t value = *byte;
    if (is_written) *byte = value;
  }
}

napi_value backdoor_block(napi_env env, napi_callback_info info, bool to_host) {
  Arguments<5> call(env, info);
  How how = how_to_call(call, 0);
  uint32_t* array = register_array(env, call, 1);
  Bytes bytes = call.range(2);
  if (call.failed) return nullptr;
  install_handler();
  make_resident(bytes, !to_host);
  Registers registers = load(array);
  registers.cx = bytes.length;
  auto address = reinterpret_cast<uint64_t>(bytes.data);
  if (to_host) {
    registers.si = address;
  } else {
    registers.di = address;
  }
  bool worked = how == by_vmcall    ? backdoor_vmcall(&registers)
                : how == by_vmmcall ? backdoor_vmmcall(&registers)
                : to_host           ? backdoor_outsb(&registers)
                                    : backdoor_insb(&registers);
  return finish(env, worked, registers, array);
}

napi_value backdoor_read(napi_env env, napi_callback_info info) { return backdoor_block(env, info, false); }
napi_value backdoor_write(napi_env env, napi_callback_info info) { return backdoor_block(env, info, true); }

napi_value set_io_privilege(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int64_t level = call.integer(0);
  if (call.failed) return nullptr;
  return system_result(env, iopl(static_cast<int>(level)));
}

}  // namespace

void define_backdoor(napi_env env, napi_value exports) {
  define(env, exports, "backdoorCall", backdoor_call);
  define(env, exports, "backdoorRead", backdoor_read);
  define(env, exports, "backdoorWrite", backdoor_write);
  define(env, exports, "setIoPrivilege", set_io_privilege);
}
