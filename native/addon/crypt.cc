/**
 * crypt(3). Its library is loaded when it is first asked for, so that the addon also loads where there is none, and the work (0.1 s
 * and more, on purpose) is done on the thread pool.
 */
#include <uv.h>

#include <initializer_list>

#include "call.h"

namespace {

/** libxcrypt's crypt_data has 32 KiB, glibc's old one 128 KiB; both want zeros at first. */
constexpr size_t crypt_data_bytes = 256 * 1024;
constexpr size_t max_hash_bytes = 512;

using crypt_function = char* (*)(const char*, const char*, void*);
crypt_function crypt_r_function = nullptr;

/** 0 or -errno. On the main thread only. */
int load_library() {
  if (crypt_r_function) return 0;
  // libxcrypt with and without glibc's old interface
  for (const char* name : {"libcrypt.so.1", "libcrypt.so.2"}) {
    auto* library = static_cast<uv_lib_t*>(calloc(1, sizeof(uv_lib_t)));
    if (!library) return -ENOMEM;
    void* symbol = nullptr;
    if (uv_dlopen(name, library) == 0 && uv_dlsym(library, "crypt_r", &symbol) == 0) {
      // it stays loaded
      crypt_r_function = reinterpret_cast<crypt_function>(symbol);
      free(library);
      return 0;
    }
    uv_dlclose(library);
    free(library);
  }
  return -ENOSYS;
}

struct Check {
  char* password;  // with a NUL
  size_t password_bytes;
  char hash[max_hash_bytes];
  int result;
  napi_deferred promise;
  napi_async_work work;
};

/** The time tells nothing but the lengths. */
bool is_same(const char* left, const char* right) {
  size_t length = strlen(left);
  if (length != strlen(right)) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < length; i++) difference |= static_cast<unsigned char>(left[i] ^ right[i]);
  return difference == 0;
}

void run(napi_env, void* data) {
  auto* check = static_cast<Check*>(data);
  void* state = calloc(1, crypt_data_bytes);
  if (!state) {
    check->result = -ENOMEM;
  } else {
    const char* hash = crypt_r_function(check->password, check->hash, state);
    // a failure is null or a text that begins with '*', which is no hash
    check->result = !hash || hash[0] == '*' ? -EINVAL : is_same(hash, check->hash);
    explicit_bzero(state, crypt_data_bytes);
    free(state);
  }
  explicit_bzero(check->password, check->password_bytes);
}

void end(napi_env env, napi_status, void* data) {
  auto* check = static_cast<Check*>(data);
  napi_resolve_deferred(env, check->promise, number(env, check->result));
  napi_delete_async_work(env, check->work);
  explicit_bzero(check->password, check->password_bytes);
  free(check->password);
  free(check);
}

napi_value check_password(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  Bytes password = call.array(0);
  char hash[max_hash_bytes];
  bool fits = call.path(1, hash, sizeof hash);
  if (call.failed) return nullptr;
  int error = load_library();
  auto* check = error ? nullptr : static_cast<Check*>(calloc(1, sizeof(Check)));
  auto* copy = check ? static_cast<char*>(malloc(password.length + 1)) : nullptr;
  if (!error && !copy) error = -ENOMEM;
  if (!error && (!fits || (password.length && memchr(password.data, 0, password.length)))) error = -EINVAL;
  napi_value promise, name;
  napi_deferred deferred;
  napi_create_promise(env, &deferred, &promise);
  if (error) {
    free(copy);
    free(check);
    napi_resolve_deferred(env, deferred, number(env, error));
    return promise;
  }
  if (password.length) memcpy(copy, password.data, password.length);
  copy[password.length] = 0;
  check->password = copy;
  check->password_bytes = password.length + 1;
  memcpy(check->hash, hash, sizeof hash);
  check->promise = deferred;
  napi_create_string_utf8(env, "chr-agent crypt", NAPI_AUTO_LENGTH, &name);
  napi_create_async_work(env, nullptr, name, run, end, check, &check->work);
  napi_queue_async_work(env, check->work);
  return promise;
}

}  // namespace

void define_crypt(napi_env env, napi_value exports) { define(env, exports, "checkPassword", check_password); }
