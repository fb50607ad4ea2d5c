/** The addon's entry: src/native/addon.ts is the contract, one file here per group of it. No policy in C++. */
#include <uv.h>

#include "call.h"

void throw_system_error(napi_env env, int error, const char* syscall) {
  char name[32];
  char text[256];
  char message[320];
  uv_err_name_r(-error, name, sizeof name);
  uv_strerror_r(-error, text, sizeof text);
  // "EPERM: operation not permitted, epoll", as in Node's own errors
  size_t length = 0;
  const char* parts[] = {name, ": ", text, ", ", syscall};
  for (const char* part : parts) {
    size_t room = sizeof message - 1 - length;
    size_t size = strnlen(part, room);
    memcpy(message + length, part, size);
    length += size;
  }
  napi_value code, message_value, errno_value, syscall_value, exception;
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code);
  napi_create_string_utf8(env, message, length, &message_value);
  napi_create_error(env, code, message_value, &exception);
  napi_create_int32(env, -error, &errno_value);
  napi_set_named_property(env, exception, "errno", errno_value);
  napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &syscall_value);
  napi_set_named_property(env, exception, "syscall", syscall_value);
  napi_throw(env, exception);
}

NAPI_MODULE_INIT() {
  define_memory(env, exports);
  define_descriptors(env, exports);
  define_poller(env, exports);
  define_processes(env, exports);
  define_filesystems(env, exports);
  define_base64(env, exports);
  define_machine(env, exports);
  define_netlink(env, exports);
  define_backdoor(env, exports);
  define_crypt(env, exports);
  return exports;
}
