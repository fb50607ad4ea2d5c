/**
 * File systems: FIFREEZE, FITHAW, FITRIM, statfs(2) and an NVMe disk's log pages, each call on a detached thread of its
 * own. One that hangs (a lost disk, a dead server, another freezer) holds up neither the event loop nor libuv's pool,
 * which everything else in Node.js waits for.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <uv.h>

#include "call.h"
#include "signals.h"

namespace {

constexpr size_t largest_log_page = 4096;

struct Job {
  /** On the thread: >= 0 or -errno. */
  int64_t (*perform)(Job*);
  /** On the main thread: what a success resolves to. */
  napi_value (*answer)(napi_env, const Job*);
  /** Our own duplicate (the caller may close his while the call hangs) or -1. */
  int fd;
  /** Owned, or nullptr. */
  char* path;
  int64_t result;
  napi_deferred promise;
  napi_threadsafe_function done;
  fstrim_range range;
  struct statfs size;
  uint32_t log_page;
  uint32_t log_bytes;
  uint8_t log[largest_log_page];
};

void discard(Job* job) {
  if (job->fd >= 0) close(job->fd);
  free(job->path);
  free(job);
}

int64_t perform_freeze(Job* job) { return ioctl(job->fd, FIFREEZE, 0) < 0 ? -errno : 0; }
int64_t perform_thaw(Job* job) { return ioctl(job->fd, FITHAW, 0) < 0 ? -errno : 0; }
int64_t perform_trim(Job* job) { return ioctl(job->fd, FITRIM, &job->range) < 0 ? -errno : 0; }
int64_t perform_statfs(Job* job) { return statfs(job->path, &job->size) < 0 ? -errno : 0; }

int64_t perform_log_page(Job* job) {
  int disk = open(job->path, O_RDONLY | O_CLOEXEC);
  if (disk < 0) return -errno;
  nvme_admin_cmd command = {};
  command.opcode = 0x02;      // get log page
  command.nsid = 0xffffffff;  // of the controller
  command.addr = reinterpret_cast<uintptr_t>(job->log);
  command.data_len = job->log_bytes;
  command.cdw10 = job->log_page | (job->log_bytes / 4 - 1) << 16;
  int status = ioctl(disk, NVME_IOCTL_ADMIN_CMD, &command);
  int64_t result = status == 0 ? 0 : status < 0 ? -errno : -EIO;  // > 0: the disk refused
  close(disk);
  return result;
}

napi_value answer_result(napi_env env, const Job* job) { return number(env, job->result); }

void set_count(napi_env env, napi_value object, const char* name, uint64_t value) {
  napi_value count;
  napi_create_bigint_uint64(env, value, &count);
  napi_set_named_property(env, object, name, count);
}

/** The kernel has put into len how much it trimmed, and into minlen what it took for the minimum. */
napi_value answer_trim(napi_env env, const Job* job) {
  napi_value result;
  napi_create_object(env, &result);
  set_count(env, result, "trimmedBytes", job->range.len);
  set_count(env, result, "minimumBytes", job->range.minlen);
  return result;
}

napi_value answer_statfs(napi_env env, const Job* job) {
  const struct statfs& size = job->size;
  napi_value result;
  napi_create_object(env, &result);
  set_count(env, result, "blocks", size.f_blocks);
  set_count(env, result, "freeBlocks", size.f_bfree);
  set_count(env, result, "availableBlocks", size.f_bavail);
  set_count(env, result, "blockBytes", static_cast<uint64_t>(size.f_frsize ? size.f_frsize : size.f_bsize));
  return result;
}

napi_value answer_log_page(napi_env env, const Job* job) {
  napi_value buffer;
  napi_create_buffer_copy(env, job->log_bytes, job->log, nullptr, &buffer);
  return buffer;
}

void thread(void* data) {
  auto* job = static_cast<Job*>(data);
  napi_threadsafe_function done = job->done;
  job->result = job->perform(job);
  if (job->fd >= 0) close(job->fd);
  job->fd = -1;
  if (napi_call_threadsafe_function(done, job, napi_tsfn_nonblocking) == napi_ok) {
    napi_release_threadsafe_function(done, napi_tsfn_release);
  } else {
    // The environment has ended. The refused call was also the release.
    discard(job);
  }
}

/** On the main thread; without `env` the environment ends and nobody is left to be told. */
void settle(napi_env env, napi_value, void*, void* data) {
  auto* job = static_cast<Job*>(data);
  if (env) {
    napi_resolve_deferred(env, job->promise, job->result < 0 ? number(env, job->result) : job->answer(env, job));
  }
  discard(job);
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

/** A job of zeros without a descriptor, nullptr if there is no memory. */
Job* new_job(int64_t (*perform)(Job*), napi_value (*answer)(napi_env, const Job*)) {
  auto* job = static_cast<Job*>(calloc(1, sizeof(Job)));
  if (!job) return nullptr;
  job->perform = perform;
  job->answer = answer;
  job->fd = -1;
  return job;
}

/** Starts the job, which may be nullptr; its promise. `error` is an errno that keeps it from starting, or 0. */
napi_value begin(napi_env env, Job* job, int error) {
  napi_deferred deferred;
  napi_value promise, name;
  napi_create_promise(env, &deferred, &promise);
  if (!job || error) {
    napi_resolve_deferred(env, deferred, number(env, job ? -error : -ENOMEM));
    if (job) discard(job);
    return promise;
  }
  job->promise = deferred;
  napi_create_string_utf8(env, "chr-agent file system", NAPI_AUTO_LENGTH, &name);
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, settle, &job->done);
  // a question that is never answered must not keep the process from ending
  if (job->path) napi_unref_threadsafe_function(env, job->done);
  if (!start_thread(job)) {
    napi_resolve_deferred(env, deferred, number(env, -EAGAIN));
    napi_release_threadsafe_function(job->done, napi_tsfn_release);
    discard(job);
  }
  return promise;
}

napi_value begin_with_descriptor(napi_env env, Job* job, int fd) {
  if (!job) return begin(env, nullptr, ENOMEM);
  job->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return begin(env, job, job->fd < 0 ? errno : 0);
}

napi_value begin_with_path(napi_env env, Job* job, const char* path) {
  if (!job) return begin(env, nullptr, ENOMEM);
  job->path = strdup(path);
  return begin(env, job, job->path ? 0 : ENOMEM);
}

napi_value freeze(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  return call.failed ? nullptr : begin_with_descriptor(env, new_job(perform_freeze, answer_result), fd);
}

napi_value thaw(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  return call.failed ? nullptr : begin_with_descriptor(env, new_job(perform_thaw, answer_result), fd);
}

napi_value trim(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  int fd = call.descriptor(0);
  uint64_t minimum = 0;
  bool exact = false;
  if (napi_get_value_bigint_uint64(env, call[1], &minimum, &exact) != napi_ok) call.fail_type("a bigint is expected");
  if (!call.failed && !exact) call.fail_range("minimumBytes must fit in 64 bits, unsigned");
  if (call.failed) return nullptr;
  Job* job = new_job(perform_trim, answer_trim);
  if (job) job->range = {0, ~uint64_t{0}, minimum};
  return begin_with_descriptor(env, job, fd);
}

napi_value statfs_path(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  char path[4096];
  bool fits = call.path(0, path, sizeof path);
  if (call.failed) return nullptr;
  Job* job = new_job(perform_statfs, answer_statfs);
  return fits ? begin_with_path(env, job, path) : begin(env, job, ENAMETOOLONG);
}

napi_value nvme_log_page(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  char path[4096];
  bool fits = call.path(0, path, sizeof path);
  int64_t page = call.integer(1);
  int64_t bytes = call.integer(2);
  if (!call.failed && (page < 0 || page > 0xff)) call.fail_range("a log page has a number from 0 to 255");
  if (!call.failed && (bytes < 4 || bytes > static_cast<int64_t>(largest_log_page) || bytes % 4)) {
    call.fail_range("4 to 4096 bytes, whole words");
  }
  if (call.failed) return nullptr;
  Job* job = new_job(perform_log_page, answer_log_page);
  if (!fits) return begin(env, job, ENAMETOOLONG);
  if (job) job->log_page = static_cast<uint32_t>(page);
  if (job) job->log_bytes = static_cast<uint32_t>(bytes);
  return begin_with_path(env, job, path);
}

}  // namespace

void define_filesystems(napi_env env, napi_value exports) {
  define(env, exports, "freeze", freeze);
  define(env, exports, "thaw", thaw);
  define(env, exports, "trim", trim);
  define(env, exports, "statfs", statfs_path);
  define(env, exports, "nvmeLogPage", nvme_log_page);
}
