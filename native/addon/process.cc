/**
 * Processes: spawn as vfork does it (child_process.spawn of a big process holds up the event loop for milliseconds),
 * and pidfds, which a Poller can wait for. libuv reaps only children of its own, so these are left to us.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "signals.h"

namespace {

// newer than the oldest headers this compiles with
constexpr int clone_pidfd = 0x1000;
constexpr int wait_pidfd = 3;
constexpr long close_range_number = 436;
constexpr long pidfd_send_signal_number = 424;

constexpr size_t stack_bytes = 64 * 1024;

/** What the child needs, complete before it starts: it shares our memory and may not allocate. */
struct Plan {
  char** candidates;
  char** argv;
  char** env;
  char** shell_argv;  // "/bin/sh", a place for the script, argv[1...]
  char* cwd;
  int* fds;
  int fd_count;
  bool new_session;
  /** Set by the child: errno of what failed, 0 if the program runs. */
  volatile int error;
};

/** Makes the child's descriptors 0 ... fd_count-1 and closes all others. */
bool arrange_descriptors(Plan* plan) {
  int count = plan->fd_count;
  // those in the way of a target first go above all targets
  for (int i = 0; i < count; i++) {
    if (plan->fds[i] >= count) continue;
    int moved = fcntl(plan->fds[i], F_DUPFD_CLOEXEC, count);
    if (moved < 0) return false;
    plan->fds[i] = moved;
  }
  for (int i = 0; i < count; i++) {
    if (dup2(plan->fds[i], i) < 0) return false;
    // programs take it for granted that these three block; pipes of ours do not
    int flags = i <= STDERR_FILENO ? fcntl(i, F_GETFL) : 0;
    if (flags & O_NONBLOCK) fcntl(i, F_SETFL, flags & ~O_NONBLOCK);
  }
  if (syscall(close_range_number, count, ~0U, 0) == 0) return true;
  // kernels before 5.9
  rlimit limit;
  int end = 65536;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1048576) end = static_cast<int>(limit.rlim_cur);
  for (int fd = count; fd < end; fd++) close(fd);
  return true;
}

/** Tries the candidates as execvpe does; returns only when none could be run. */
void run(Plan* plan) {
  int error = ENOENT;
  bool denied = false;
  for (char** path = plan->candidates; *path; path++) {
    execve(*path, plan->argv, plan->env);
    if (errno == ENOEXEC) {
      plan->shell_argv[1] = *path;
      execve("/bin/sh", plan->shell_argv, plan->env);
    }
    error = errno;
    if (error == EACCES) denied = true;
    else if (error != ENOENT && error != ENOTDIR && error != ESTALE && error != ENODEV && error != ETIMEDOUT) break;
    else if (denied) error = EACCES;
  }
  plan->error = error;
}

/** The agent may be protected from the kernel's out-of-memory killer (its systemd unit says so); what it starts is not. */
void give_up_oom_protection() {
  int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  char sign = 0;
  if (read(fd, &sign, 1) == 1 && sign == '-' && pwrite(fd, "0", 1, 0) < 0) {
    // then it is protected: no reason not to run
  }
  close(fd);
}

/** The child, on a stack of its own in our memory while our thread stands still. */
int child(void* data) {
  auto* plan = static_cast<Plan*>(data);
  // All handlers go before the mask does: one that ran here would run in the parent's memory.
  for (int number = 1; number < NSIG; number++) set_default_action(number);
  set_signal_mask(no_signal, nullptr);
  if (plan->new_session) setsid();
  give_up_oom_protection();
  if (!arrange_descriptors(plan) || (plan->cwd && chdir(plan->cwd) < 0)) plan->error = errno;
  else run(plan);
  _exit(127);
}

/** pid, and the pidfd in *pidfd; or -errno. */
int start(Plan* plan, int* pidfd) {
  auto* stack = static_cast<char*>(malloc(stack_bytes));
  if (!stack) return -ENOMEM;
  uint64_t mask = 0;
  *pidfd = -1;
  set_signal_mask(every_signal, &mask);
  // stacks grow down and begin on 16 bytes, as malloc's blocks do
  int pid = clone(child, stack + stack_bytes, CLONE_VM | CLONE_VFORK | clone_pidfd | SIGCHLD, plan, pidfd);
  int error = pid < 0 ? errno : plan->error;
  set_signal_mask(mask, nullptr);
  free(stack);
  if (pid < 0) return -error;
  if (*pidfd < 0 && error == 0) {
    // a kernel before 5.2 takes the flag and does not know it
    kill(pid, SIGKILL);
    error = ENOSYS;
  }
  if (error == 0) return pid;
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (*pidfd >= 0) close(*pidfd);
  *pidfd = -1;
  return -error;
}

/** Reads SpawnOptions. Everything that it allocates is freed with it. */
class Reader {
 public:
  Reader(napi_env env, napi_value options) : env_(env), options_(options) {}
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    while (blocks_) {
      Block* next = blocks_->next;
      free(blocks_);
      blocks_ = next;
    }
  }

  /** The message of the TypeError, or null. */
  const char* problem = nullptr;

  char** strings(const char* name, uint32_t* count) {
    napi_value array = list(name, count);
    auto** result = static_cast<char**>(allocate((*count + size_t{1}) * sizeof(char*)));
    if (!result) return nullptr;
    for (uint32_t i = 0; i < *count; i++) {
      napi_value element = nullptr;
      napi_handle_scope scope;
      napi_open_handle_scope(env_, &scope);
      napi_get_element(env_, array, i, &element);
      result[i] = text(element);
      napi_close_handle_scope(env_, scope);
    }
    result[*count] = nullptr;
    return result;
  }

  int* descriptors(const char* name, int* count) {
    uint32_t length;
    napi_value array = list(name, &length);
    auto* result = static_cast<int*>(allocate((length + size_t{1}) * sizeof(int)));
    if (!result) return nullptr;
    *count = static_cast<int>(length);
    for (uint32_t i = 0; i < length; i++) {
      napi_value element = nullptr;
      napi_get_element(env_, array, i, &element);
      if (napi_get_value_int32(env_, element, &result[i]) != napi_ok) problem = "descriptors must be numbers";
    }
    return result;
  }

  /** A string, or null for null and undefined. */
  char* optional_text(const char* name) {
    napi_value value = property(name);
    napi_valuetype type;
    napi_typeof(env_, value, &type);
    return type == napi_null || type == napi_undefined ? nullptr : text(value);
  }

  bool boolean(const char* name) {
    bool value = false;
    if (napi_get_value_bool(env_, property(name), &value) != napi_ok) problem = "newSession must be a boolean";
    return value;
  }

  void* allocate(size_t bytes) {
    auto* block = static_cast<Block*>(malloc(sizeof(Block) + bytes));
    if (!block) {
      problem = "out of memory";
      return nullptr;
    }
    block->next = blocks_;
    blocks_ = block;
    return block + 1;
  }

 private:
  struct Block {
    Block* next;
    size_t unused;  // keeps what follows aligned to 16
  };

  napi_value property(const char* name) {
    napi_value value = nullptr;
    if (napi_get_named_property(env_, options_, name, &value) == napi_ok) return value;
    problem = "options must be an object";
    napi_get_undefined(env_, &value);
    return value;
  }

  napi_value list(const char* name, uint32_t* count) {
    napi_value array = property(name);
    *count = 0;
    if (napi_get_array_length(env_, array, count) != napi_ok) problem = "candidates, argv, env, fds must be arrays";
    return array;
  }

  char* text(napi_value value) {
    size_t length = 0;
    if (napi_get_value_string_utf8(env_, value, nullptr, 0, &length) != napi_ok) {
      problem = "candidates, argv, env and cwd must be strings";
      return nullptr;
    }
    auto* copy = static_cast<char*>(allocate(length + 1));
    if (!copy) return nullptr;
    napi_get_value_string_utf8(env_, value, copy, length + 1, &length);
    if (memchr(copy, 0, length)) problem = "a string for a process cannot hold a NUL";
    return copy;
  }

  napi_env env_;
  napi_value options_;
  Block* blocks_ = nullptr;
};

napi_value spawn(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Reader reader(env, call[0]);
  Plan plan = {};
  uint32_t argc = 0, unused = 0;
  plan.candidates = reader.strings("candidates", &unused);
  plan.argv = reader.strings("argv", &argc);
  plan.env = reader.strings("env", &unused);
  plan.cwd = reader.optional_text("cwd");
  plan.fds = reader.descriptors("fds", &plan.fd_count);
  plan.new_session = reader.boolean("newSession");
  plan.shell_argv = static_cast<char**>(reader.allocate((argc + size_t{3}) * sizeof(char*)));
  bool pending = false;
  napi_is_exception_pending(env, &pending);  // a getter of the options threw
  if (pending) return nullptr;
  if (reader.problem) {
    napi_throw_type_error(env, nullptr, reader.problem);
    return nullptr;
  }
  static char shell[] = "/bin/sh";
  plan.shell_argv[0] = shell;
  plan.shell_argv[1] = nullptr;
  plan.shell_argv[2] = nullptr;
  for (uint32_t i = 1; i <= argc; i++) plan.shell_argv[i + 1] = plan.argv[i];  // with the null at the end

  int pidfd = -1;
  int pid = start(&plan, &pidfd);
  napi_value result;
  napi_create_object(env, &result);
  napi_set_named_property(env, result, "pid", number(env, pid));
  napi_set_named_property(env, result, "pidfd", number(env, pidfd));
  return result;
}

napi_value wait_for(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int pidfd = call.descriptor(0);
  if (call.failed) return nullptr;
  siginfo_t status = {};
  int result;
  do result = waitid(static_cast<idtype_t>(wait_pidfd), static_cast<id_t>(pidfd), &status, WEXITED | WNOHANG);
  while (result < 0 && errno == EINTR);
  if (result < 0) return number(env, -errno);
  napi_value object;
  if (status.si_pid == 0) {
    napi_get_null(env, &object);
    return object;
  }
  bool exited = status.si_code == CLD_EXITED;
  napi_create_object(env, &object);
  napi_set_named_property(env, object, "code", number(env, exited ? status.si_status : -1));
  napi_set_named_property(env, object, "signal", number(env, exited ? 0 : status.si_status));
  return object;
}

napi_value signal_process(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  int pidfd = call.descriptor(0);
  int64_t signal = call.integer(1);
  if (call.failed) return nullptr;
  return system_result(env, syscall(pidfd_send_signal_number, pidfd, static_cast<int>(signal), nullptr, 0));
}

}  // namespace

void define_processes(napi_env env, napi_value exports) {
  define(env, exports, "spawn", spawn);
  define(env, exports, "waitPidfd", wait_for);
  define(env, exports, "signalPidfd", signal_process);
}
