/**
 * File systems: FIFREEZE, FITHAW and FITRIM, each call on a detached thread of its own. One that hangs (a lost disk,
 * another freezer) holds up neither the event loop nor libuv's pool, which everything else in Node.js waits for.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <uv.h>

#include "call.h"
#include "signals.h"

namespace {

struct Job {
  int fd;  // our own duplicate: the caller may close his while the call hangs
  unsigned long request;
  uint64_t minimum;
  int64_t result;
  napi_deferred promise;
  napi_threadsafe_function done;
};

int64_t perform(const Job* job) {
  if (job->request != FITRIM) return ioctl(job->fd, job->request, 0) < 0 ? -errno : 0;
  fstrim_range range = {};
  range.len = ~uint64_t{0};
  range.minlen = job->minimum;
  // the kernel puts into len how much it trimmed
  return ioctl(job->fd, FITRIM, &range) < 0 ? -errno : static_cast<int64_t>(range.len);
}

void thread(void* data) {
  auto* job = static_cast<Job*>(data);
  napi_threadsafe_function done = job->done;
  job->result = perform(job);
  close(job->fd);
  if (napi_call_threadsafe_function(done, job, napi_tsfn_nonblocking) == napi_ok) {
    napi_release_threadsafe_function(done, napi_tsfn_release);
  } else {
    // The environment has ended. The refused call was also the release.
    free(job);
  }
}

/** On the main thread; without `env` the environment ends and nobody is left to be told. */
void settle(napi_env env, napi_value, void*, void* data) {
  auto* job = static_cast<Job*>(data);
  if (env) napi_resolve_deferred(env, job->promise, number(env, job->result));
  free(job);
}

bool start_thread(Job* job) {
  uv_thread_t id;
  uv_thread_options_t options = {};
  options.flags = UV_THREAD_HAS_STACK_SIZE;
  options.stack_size = 256 * 1024;
  uint64_t mask = 0;
  set_signal_mask(every_public_signal, &mask);
  bool started = uv_thread_create_ex(&id, &options, thread, job) == 0;
  if (started) uv_thread_detach(&id);
  set_signal_mask(mask, nullptr);
  return started;
}

napi_value begin(napi_env env, int fd, unsigned long request, uint64_t minimum) {
  napi_deferred deferred;
  napi_value promise, name;
  napi_create_promise(env, &deferred, &promise);
  int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  auto* job = static_cast<Job*>(malloc(sizeof(Job)));
  if (own < 0 || !job) {
    napi_resolve_deferred(env, deferred, number(env, own < 0 ? -errno : -ENOMEM));
    if (own >= 0) close(own);
    free(job);
    return promise;
  }
  *job = {own, request, minimum, 0, deferred, nullptr};
  napi_create_string_utf8(env, "chr-agent file system", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, settle, &job->done);
  if (!start_thread(job)) {
    napi_resolve_deferred(env, deferred, number(env, -EAGAIN));
    napi_release_threadsafe_function(job->done, napi_tsfn_release);
    close(own);
    free(job);
  }
  return promise;
}

napi_value freeze(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  return call.failed ? nullptr : begin(env, fd, FIFREEZE, 0);
}

napi_value thaw(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  return call.failed ? nullptr : begin(env, fd, FITHAW, 0);
}

napi_value trim(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  int fd = call.descriptor(0);
  int64_t minimum = call.integer(1);
  if (!call.failed && minimum < 0) call.fail_range("minimumBytes must not be negative");
  return call.failed ? nullptr : begin(env, fd, FITRIM, static_cast<uint64_t>(minimum));
}

}  // namespace

void define_filesystems(napi_env env, napi_value exports) {
  define(env, exports, "freeze", freeze);
  define(env, exports, "thaw", thaw);
  define(env, exports, "trim", trim);
}
