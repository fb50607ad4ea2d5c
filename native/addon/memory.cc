/** Memory: a reservation whose pages come and go one by one, and malloc's free lists. */
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "call.h"

namespace {

napi_value reserve(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int64_t bytes = call.integer(0);
  if (!call.failed && bytes <= 0) call.fail_range("bytes must be positive");
  if (call.failed) return nullptr;
  auto size = static_cast<size_t>(bytes);
  void* memory =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw_system_error(env, errno, "mmap");
    return nullptr;
  }
  // a huge page would bring 2 MiB back with the first byte
  madvise(memory, size, MADV_NOHUGEPAGE);
  napi_value buffer = nullptr;
  if (napi_create_external_buffer(env, size, memory, nullptr, nullptr, &buffer) != napi_ok) {
    munmap(memory, size);
    napi_throw_range_error(env, nullptr, "too large for a Buffer");
    return nullptr;
  }
  return buffer;
}

napi_value release_pages(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  Bytes bytes = call.range(0);
  if (call.failed) return nullptr;
  auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  auto start = (reinterpret_cast<uintptr_t>(bytes.data) + page - 1) & ~(page - 1);
  auto end = (reinterpret_cast<uintptr_t>(bytes.data) + bytes.length) & ~(page - 1);
  if (start < end) madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
  return nullptr;
}

napi_value trim_malloc(napi_env, napi_callback_info) {
  malloc_trim(0);
  return nullptr;
}

}  // namespace

void define_memory(napi_env env, napi_value exports) {
  define(env, exports, "reserve", reserve);
  define(env, exports, "releasePages", release_pages);
  define(env, exports, "mallocTrim", trim_malloc);
}
