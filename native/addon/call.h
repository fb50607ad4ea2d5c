/**
 * Reading the arguments of a call and making its result, on the C interface of N-API: a hot function (read, write,
 * scanString, base64) costs tens of nanoseconds this way. Nothing here needs libstdc++ at run time, so the addon
 * asks for no newer glibc than Node.js itself does.
 */
#pragma once

#include <node_api.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

/** A piece of a Uint8Array. */
struct Bytes {
  uint8_t* data;
  size_t length;
};

/**
 * The arguments of one call. A getter that meets a wrong argument throws a JavaScript error and sets `failed`;
 * the function then returns nullptr before it does anything.
 */
template <size_t count>
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t given = count;
    napi_get_cb_info(env, info, &given, values_, &self_, nullptr);
  }

  bool failed = false;

  napi_value operator[](size_t at) const { return values_[at]; }
  napi_value self() const { return self_; }

  /** A number, cut to an integer. */
  int64_t integer(size_t at) {
    int64_t value = 0;
    if (napi_get_value_int64(env_, values_[at], &value) != napi_ok) fail_type("a number is expected");
    return value;
  }

  int descriptor(size_t at) {
    int32_t value = -1;
    if (napi_get_value_int32(env_, values_[at], &value) != napi_ok) fail_type("a descriptor is expected");
    return value;
  }

  /** The whole Uint8Array. */
  Bytes array(size_t at) {
    Bytes bytes = {nullptr, 0};
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    if (napi_get_typedarray_info(env_, values_[at], &type, &bytes.length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array) {
      fail_type("a Uint8Array is expected");
      return {nullptr, 0};
    }
    bytes.data = static_cast<uint8_t*>(data);
    return bytes;
  }

  /** [start, end) of a Uint8Array: three arguments from `at` on. */
  Bytes range(size_t at) {
    Bytes whole = array(at);
    int64_t start = integer(at + 1);
    int64_t end = integer(at + 2);
    if (failed) return {nullptr, 0};
    if (start < 0 || end < start || static_cast<uint64_t>(end) > whole.length) {
      fail_range("start and end must lie within the buffer");
      return {nullptr, 0};
    }
    return {whole.data + start, static_cast<size_t>(end - start)};
  }

  /** A path without NUL in `target`; false if it is longer than that (nothing is thrown then). */
  bool path(size_t at, char* target, size_t size) {
    size_t length = 0;
    if (napi_get_value_string_utf8(env_, values_[at], nullptr, 0, &length) != napi_ok) {
      fail_type("a path is expected");
      return true;
    }
    if (length >= size) return false;
    napi_get_value_string_utf8(env_, values_[at], target, size, &length);
    if (memchr(target, 0, length)) fail_type("a path cannot hold a NUL");
    return true;
  }

  void fail_type(const char* message) {
    if (!failed) napi_throw_type_error(env_, nullptr, message);
    failed = true;
  }

  void fail_range(const char* message) {
    if (!failed) napi_throw_range_error(env_, nullptr, message);
    failed = true;
  }

 private:
  napi_env env_;
  napi_value self_ = nullptr;
  // N-API fills what the caller left out with undefined
  napi_value values_[count];
};

inline napi_value number(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_int64(env, value, &result);
  return result;
}

/** A system call's result by the addon's convention: what it returned, or -errno. */
inline napi_value system_result(napi_env env, int64_t value) { return number(env, value < 0 ? -errno : value); }

/** Throws an Error as Node.js makes them: negative `errno`, `code`, `syscall`. */
void throw_system_error(napi_env env, int error, const char* syscall);

inline void define(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
  napi_set_named_property(env, exports, name, value);
}

void define_memory(napi_env env, napi_value exports);
void define_descriptors(napi_env env, napi_value exports);
void define_poller(napi_env env, napi_value exports);
void define_processes(napi_env env, napi_value exports);
void define_filesystems(napi_env env, napi_value exports);
void define_base64(napi_env env, napi_value exports);
void define_machine(napi_env env, napi_value exports);
void define_netlink(napi_env env, napi_value exports);
void define_backdoor(napi_env env, napi_value exports);
void define_crypt(napi_env env, napi_value exports);
