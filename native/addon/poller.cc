/**
 * Poller: tells JavaScript when a descriptor is readable or writable. Level mode is libuv's own poll; edge mode puts
 * an epoll descriptor of our own (EPOLLET) between, for virtio ports that hang up for as long as no host is there.
 */
#include <sys/epoll.h>
#include <unistd.h>
#include <uv.h>

#include "call.h"

namespace {

// src/native/addon.ts has the same numbers
constexpr int readable = 1;
constexpr int writable = 2;
constexpr int hangup = 4;

/**
 * Lives until its uv handle is closed and its JavaScript object is collected, whichever is later. Not closed, it goes
 * on although the object is gone: who polls must close.
 */
struct Poller {
  uv_poll_t handle;
  napi_env env;
  napi_ref on_events;
  napi_async_cleanup_hook_handle cleanup;
  int epoll_fd;  // -1 in level mode
  int interest;
  bool closing;
  bool closed;
  bool collected;
};

void free_if_unused(Poller* poller) {
  if (poller->closed && poller->collected) free(poller);
}

void drop_callback(Poller* poller) {
  if (poller->on_events) napi_delete_reference(poller->env, poller->on_events);
  poller->on_events = nullptr;
}

void on_closed(uv_handle_t* handle) {
  auto* poller = static_cast<Poller*>(handle->data);
  if (poller->epoll_fd >= 0) close(poller->epoll_fd);
  drop_callback(poller);
  napi_remove_async_cleanup_hook(poller->cleanup);
  poller->closed = true;
  free_if_unused(poller);
}

void begin_close(Poller* poller) {
  if (poller->closing) return;
  poller->closing = true;
  uv_close(reinterpret_cast<uv_handle_t*>(&poller->handle), on_closed);
}

/** The environment ends (worker or process): no JavaScript may run from here on, the handle leaves the loop. */
void on_teardown(napi_async_cleanup_hook_handle, void* data) {
  auto* poller = static_cast<Poller*>(data);
  drop_callback(poller);
  begin_close(poller);
}

void on_collected(napi_env, void* data, void*) {
  auto* poller = static_cast<Poller*>(data);
  poller->collected = true;
  free_if_unused(poller);
}

void report(Poller* poller, int events) {
  napi_env env = poller->env;
  napi_handle_scope scope;
  if (!poller->on_events || napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value function, receiver, argument, result;
  napi_get_reference_value(env, poller->on_events, &function);
  napi_get_global(env, &receiver);
  napi_create_int32(env, events, &argument);
  if (napi_make_callback(env, nullptr, receiver, function, 1, &argument, &result) == napi_pending_exception) {
    napi_value exception;
    if (napi_get_and_clear_last_exception(env, &exception) == napi_ok) napi_fatal_exception(env, exception);
  }
  napi_close_handle_scope(env, scope);
}

void on_level(uv_poll_t* handle, int status, int events) {
  auto* poller = static_cast<Poller*>(handle->data);
  if (status < 0) {
    // libuv stops at EPOLLERR; level-triggered means that the error is told until something is done about it
    if (uv_poll_start(handle, poller->interest, on_level) != 0) poller->interest = 0;
    report(poller, (poller->interest ? poller->interest : readable | writable) | hangup);
    return;
  }
  report(poller, events);
}

void on_edge(uv_poll_t* handle, int, int) {
  auto* poller = static_cast<Poller*>(handle->data);
  epoll_event event;
  if (epoll_wait(poller->epoll_fd, &event, 1, 0) != 1) return;
  report(poller, (event.events & EPOLLIN ? readable : 0) | (event.events & EPOLLOUT ? writable : 0) |
                     (event.events & (EPOLLHUP | EPOLLERR) ? hangup : 0));
}

/** Puts `fd` behind an epoll descriptor: that descriptor or -errno. */
int edge_descriptor(int fd) {
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return -errno;
  epoll_event event = {};
  event.events = EPOLLIN | EPOLLOUT | EPOLLET;
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return epoll_fd;
  int error = errno;
  close(epoll_fd);
  return -error;
}

napi_value construct(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  int fd = call.descriptor(0);
  char mode[8];
  size_t length = 0;
  bool level = false;
  if (napi_get_value_string_utf8(env, call[1], mode, sizeof mode, &length) == napi_ok) {
    level = strcmp(mode, "level") == 0;
    if (!level && strcmp(mode, "edge") != 0) call.fail_type("mode must be 'level' or 'edge'");
  } else {
    call.fail_type("mode must be 'level' or 'edge'");
  }
  napi_valuetype type;
  napi_typeof(env, call[2], &type);
  if (type != napi_function) call.fail_type("a function is expected");
  napi_value target = nullptr;
  napi_get_new_target(env, info, &target);
  if (!target) call.fail_type("Poller is called with new");
  if (call.failed) return nullptr;

  uv_loop_t* loop;
  napi_get_uv_event_loop(env, &loop);
  auto* poller = static_cast<Poller*>(calloc(1, sizeof(Poller)));
  poller->env = env;
  poller->handle.data = poller;
  poller->epoll_fd = level ? -1 : edge_descriptor(fd);
  int result = level || poller->epoll_fd >= 0 ? 0 : poller->epoll_fd;
  if (result == 0) result = uv_poll_init(loop, &poller->handle, level ? fd : poller->epoll_fd);
  if (result < 0) {
    if (poller->epoll_fd >= 0) close(poller->epoll_fd);
    free(poller);
    throw_system_error(env, -result, "epoll_ctl");
    return nullptr;
  }
  napi_create_reference(env, call[2], 1, &poller->on_events);
  napi_add_async_cleanup_hook(env, on_teardown, poller, &poller->cleanup);
  napi_wrap(env, call.self(), poller, on_collected, nullptr, nullptr);
  if (!level) {
    poller->interest = readable | writable;
    uv_poll_start(&poller->handle, UV_READABLE, on_edge);
  }
  return call.self();
}

Poller* unwrap(napi_env env, napi_value self) {
  void* poller = nullptr;
  if (napi_unwrap(env, self, &poller) != napi_ok) napi_throw_type_error(env, nullptr, "not a Poller");
  return static_cast<Poller*>(poller);
}

napi_value set_interest(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int events = static_cast<int>(call.integer(0)) & (readable | writable);
  if (call.failed) return nullptr;
  Poller* poller = unwrap(env, call.self());
  if (!poller || poller->closing || poller->interest == events) return nullptr;
  bool edge = poller->epoll_fd >= 0;
  bool was_idle = poller->interest == 0;
  poller->interest = events;
  if (events == 0) uv_poll_stop(&poller->handle);
  // an edge that came meanwhile waits in the epoll descriptor and is told now
  else if (edge && was_idle) uv_poll_start(&poller->handle, UV_READABLE, on_edge);
  else if (!edge) uv_poll_start(&poller->handle, events, on_level);
  return nullptr;
}

napi_value close_poller(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  if (Poller* poller = unwrap(env, call.self())) begin_close(poller);
  return nullptr;
}

napi_value unref_poller(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Poller* poller = unwrap(env, call.self());
  if (poller && !poller->closing) uv_unref(reinterpret_cast<uv_handle_t*>(&poller->handle));
  return nullptr;
}

napi_value ref_poller(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Poller* poller = unwrap(env, call.self());
  if (poller && !poller->closing) uv_ref(reinterpret_cast<uv_handle_t*>(&poller->handle));
  return nullptr;
}

napi_property_descriptor method(const char* name, napi_callback function) {
  return {name, nullptr, function, nullptr, nullptr, nullptr, napi_default_method, nullptr};
}

}  // namespace

void define_poller(napi_env env, napi_value exports) {
  static_assert(UV_READABLE == readable && UV_WRITABLE == writable, "libuv's bits are passed on as they are");
  const napi_property_descriptor methods[] = {method("interest", set_interest), method("close", close_poller),
                                              method("unref", unref_poller), method("ref", ref_poller)};
  napi_value constructor;
  napi_define_class(env, "Poller", NAPI_AUTO_LENGTH, construct, nullptr, 4, methods, &constructor);
  napi_set_named_property(env, exports, "Poller", constructor);
}
