/** Descriptors: read and write, sockets Node.js has no class for (AF_VSOCK), ttys. All close-on-exec, non-blocking. */
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
// after sys/socket.h, which it needs
#include <linux/magic.h>
#include <linux/vm_sockets.h>

#include "call.h"

namespace {

napi_value read_bytes(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  int fd = call.descriptor(0);
  Bytes bytes = call.range(1);
  if (call.failed) return nullptr;
  ssize_t result;
  do result = read(fd, bytes.data, bytes.length);
  while (result < 0 && errno == EINTR);
  return system_result(env, result);
}

napi_value read_now(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  int fd = call.descriptor(0);
  Bytes bytes = call.range(1);
  if (call.failed) return nullptr;
  iovec piece = {bytes.data, bytes.length};
  ssize_t result;
  do result = preadv2(fd, &piece, 1, -1, RWF_NOWAIT);
  while (result < 0 && errno == EINTR);
  // tmpfs does not know the flag, and has all its data in memory
  struct statfs file_system;
  if (result < 0 && errno == EOPNOTSUPP && fstatfs(fd, &file_system) == 0 && file_system.f_type == TMPFS_MAGIC)
    return system_result(env, read(fd, bytes.data, bytes.length));
  if (result < 0 && errno == EOPNOTSUPP) return number(env, -EOPNOTSUPP);
  return system_result(env, result);
}

napi_value write_bytes(napi_env env, napi_callback_info info) {
  Arguments<4> call(env, info);
  int fd = call.descriptor(0);
  Bytes bytes = call.range(1);
  if (call.failed) return nullptr;
  ssize_t result;
  do result = write(fd, bytes.data, bytes.length);
  while (result < 0 && errno == EINTR);
  return system_result(env, result);
}

napi_value close_descriptor(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  if (call.failed) return nullptr;
  // Linux frees the number even when close is interrupted: never again on EINTR
  return system_result(env, close(fd) < 0 && errno != EINTR ? -1 : 0);
}

napi_value seek_file(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  int fd = call.descriptor(0);
  int64_t offset = 0;
  bool lossless = false;
  if (napi_get_value_bigint_int64(env, call[1], &offset, &lossless) != napi_ok) call.fail_type("a bigint is expected");
  int whence = static_cast<int>(call.integer(2));
  if (call.failed) return nullptr;
  // the result must be exact as a JavaScript number
  constexpr int64_t max_exact = INT64_C(1) << 53;
  if (!lossless || offset > max_exact || offset < -max_exact) return number(env, -EINVAL);
  off_t position = lseek(fd, offset, whence);
  napi_value result;
  napi_create_int64(env, position < 0 ? -errno : position, &result);
  return result;
}

napi_value open_device(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  char path[PATH_MAX];
  bool fits = call.path(0, path, sizeof path);
  if (call.failed) return nullptr;
  if (!fits) return number(env, -ENAMETOOLONG);
  return system_result(env, open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

napi_value make_raw(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  if (call.failed) return nullptr;
  termios settings;
  if (tcgetattr(fd, &settings) < 0) return number(env, -errno);
  settings.c_iflag = 0;
  settings.c_oflag = 0;
  settings.c_lflag = 0;
  settings.c_cc[VMIN] = 1;
  settings.c_cc[VTIME] = 0;
  cfsetispeed(&settings, B38400);
  cfsetospeed(&settings, B38400);
  if (tcflush(fd, TCIFLUSH) < 0) return number(env, -errno);
  return system_result(env, tcsetattr(fd, TCSANOW, &settings));
}

napi_value pair(napi_env env, int result, const int* fds) {
  napi_value array;
  napi_create_array_with_length(env, 2, &array);
  napi_set_element(env, array, 0, number(env, result < 0 ? -errno : fds[0]));
  napi_set_element(env, array, 1, number(env, result < 0 ? -1 : fds[1]));
  return array;
}

napi_value make_pipe(napi_env env, napi_callback_info) {
  int fds[2];
  return pair(env, pipe2(fds, O_NONBLOCK | O_CLOEXEC), fds);
}

constexpr int stream = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

napi_value socket_pair(napi_env env, napi_callback_info) {
  int fds[2];
  return pair(env, socketpair(AF_UNIX, stream, 0, fds), fds);
}

/** Closes a socket that did not come to life: its descriptor or -errno. */
int finish(int fd, bool alive) {
  if (alive) return fd;
  int error = errno;
  close(fd);
  return -error;
}

/** False if the path does not fit or is empty (that would be an autobind). */
bool unix_address(const char* path, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  size_t length = strlen(path);
  if (length == 0 || length >= sizeof address->sun_path) return false;
  memcpy(address->sun_path, path, length);
  return true;
}

sockaddr_vm vsock_address(int64_t cid, int64_t port) {
  sockaddr_vm address = {};
  address.svm_family = AF_VSOCK;
  address.svm_cid = static_cast<unsigned>(cid);
  address.svm_port = static_cast<unsigned>(port);
  return address;
}

int listen_at(const void* address, socklen_t size, int family, int64_t backlog) {
  int fd = socket(family, stream, 0);
  if (fd < 0) return -errno;
  return finish(fd, bind(fd, static_cast<const sockaddr*>(address), size) == 0 &&
                        listen(fd, static_cast<int>(backlog)) == 0);
}

int connect_to(const void* address, socklen_t size, int family) {
  int fd = socket(family, stream, 0);
  if (fd < 0) return -errno;
  return finish(fd, connect(fd, static_cast<const sockaddr*>(address), size) == 0 || errno == EINPROGRESS);
}

napi_value listen_unix(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  char path[PATH_MAX];
  sockaddr_un address;
  bool fits = call.path(0, path, sizeof path);
  int64_t backlog = call.integer(1);
  if (call.failed) return nullptr;
  if (!fits || !unix_address(path, &address)) return number(env, -ENAMETOOLONG);
  return number(env, listen_at(&address, sizeof address, AF_UNIX, backlog));
}

napi_value connect_unix(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  char path[PATH_MAX];
  sockaddr_un address;
  bool fits = call.path(0, path, sizeof path);
  if (call.failed) return nullptr;
  if (!fits || !unix_address(path, &address)) return number(env, -ENAMETOOLONG);
  return number(env, connect_to(&address, sizeof address, AF_UNIX));
}

napi_value listen_vsock(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  sockaddr_vm address = vsock_address(call.integer(0), call.integer(1));
  int64_t backlog = call.integer(2);
  if (call.failed) return nullptr;
  return number(env, listen_at(&address, sizeof address, AF_VSOCK, backlog));
}

napi_value connect_vsock(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  sockaddr_vm address = vsock_address(call.integer(0), call.integer(1));
  if (call.failed) return nullptr;
  return number(env, connect_to(&address, sizeof address, AF_VSOCK));
}

napi_value connect_vsock_from(napi_env env, napi_callback_info info) {
  Arguments<3> call(env, info);
  sockaddr_vm local = vsock_address(VMADDR_CID_ANY, call.integer(0));
  sockaddr_vm address = vsock_address(call.integer(1), call.integer(2));
  if (call.failed) return nullptr;
  int fd = socket(AF_VSOCK, stream, 0);
  if (fd < 0) return number(env, -errno);
  bool starts = bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) == 0 &&
                (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 || errno == EINPROGRESS);
  return number(env, finish(fd, starts));
}

napi_value accept_connection(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  if (call.failed) return nullptr;
  int result;
  do result = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  while (result < 0 && errno == EINTR);
  return system_result(env, result);
}

int socket_option(int fd, int option, int* value) {
  socklen_t size = sizeof *value;
  return getsockopt(fd, SOL_SOCKET, option, value, &size);
}

napi_value socket_error(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  if (call.failed) return nullptr;
  int error = 0;
  return number(env, socket_option(fd, SO_ERROR, &error) < 0 ? -errno : -error);
}

napi_value listening_family(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  if (call.failed) return nullptr;
  int listening = 0, family = 0;
  napi_value result;
  if (socket_option(fd, SO_ACCEPTCONN, &listening) < 0 || !listening || socket_option(fd, SO_DOMAIN, &family) < 0) {
    napi_get_null(env, &result);
    return result;
  }
  const char* name = family == AF_UNIX ? "unix" : family == AF_VSOCK ? "vsock" : "other";
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &result);
  return result;
}

napi_value set_flags(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int fd = call.descriptor(0);
  if (call.failed) return nullptr;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return number(env, -errno);
  return system_result(env, fcntl(fd, F_SETFD, FD_CLOEXEC));
}

}  // namespace

void define_descriptors(napi_env env, napi_value exports) {
  define(env, exports, "read", read_bytes);
  define(env, exports, "readNow", read_now);
  define(env, exports, "write", write_bytes);
  define(env, exports, "close", close_descriptor);
  define(env, exports, "seek", seek_file);
  define(env, exports, "openDevice", open_device);
  define(env, exports, "makeRaw", make_raw);
  define(env, exports, "pipe", make_pipe);
  define(env, exports, "socketPair", socket_pair);
  define(env, exports, "listenUnix", listen_unix);
  define(env, exports, "listenVsock", listen_vsock);
  define(env, exports, "connectUnix", connect_unix);
  define(env, exports, "connectVsock", connect_vsock);
  define(env, exports, "connectVsockFrom", connect_vsock_from);
  define(env, exports, "accept", accept_connection);
  define(env, exports, "socketError", socket_error);
  define(env, exports, "listeningFamily", listening_family);
  define(env, exports, "setNonBlockingCloseOnExec", set_flags);
}
