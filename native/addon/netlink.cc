/** One dump over a NETLINK_ROUTE socket, which Node.js has no class for; the messages are made and read in TypeScript. */
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "call.h"

namespace {

/** More than the kernel puts in one datagram of a dump (32 KiB at most). */
constexpr size_t datagram_bytes = 256 * 1024;
/** The kernel answers at once; this only keeps a lost answer from holding the event loop for ever. */
constexpr timeval answer_limit = {2, 0};

struct Answer {
  uint8_t* data = nullptr;
  size_t length = 0;
  ~Answer() { free(data); }

  bool append(const uint8_t* bytes, size_t size) {
    auto* grown = static_cast<uint8_t*>(realloc(data, length + size));
    if (!grown) return false;
    data = grown;
    memcpy(data + length, bytes, size);
    length += size;
    return true;
  }
};

/** Whether a datagram holds the message that ends the answer. */
bool ends_answer(const uint8_t* bytes, size_t length) {
  auto* header = reinterpret_cast<const nlmsghdr*>(bytes);
  for (size_t left = length; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
    if (header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR) return true;
  }
  return false;
}

/** 0 or -errno. */
int collect(int fd, Bytes request, uint8_t* datagram, Answer* answer) {
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer_limit, sizeof answer_limit);
  if (send(fd, request.data, request.length, 0) < 0) return -errno;
  for (;;) {
    sockaddr_nl sender = {};
    socklen_t sender_length = sizeof sender;
    ssize_t length;
    do length = recvfrom(fd, datagram, datagram_bytes, MSG_TRUNC, reinterpret_cast<sockaddr*>(&sender), &sender_length);
    while (length < 0 && errno == EINTR);
    if (length < 0) return errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (sender.nl_pid != 0) continue;  // not from the kernel
    if (static_cast<size_t>(length) > datagram_bytes) return -EMSGSIZE;
    if (!answer->append(datagram, static_cast<size_t>(length))) return -ENOMEM;
    if (ends_answer(datagram, static_cast<size_t>(length))) return 0;
  }
}

napi_value netlink_dump(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Bytes request = call.array(0);
  if (call.failed) return nullptr;
  Answer answer;
  auto* datagram = static_cast<uint8_t*>(malloc(datagram_bytes));
  if (!datagram) return number(env, -ENOMEM);
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  int result = fd < 0 ? -errno : collect(fd, request, datagram, &answer);
  if (fd >= 0) close(fd);
  free(datagram);
  if (result < 0) return number(env, result);
  napi_value buffer = nullptr;
  napi_create_buffer_copy(env, answer.length, answer.data, nullptr, &buffer);
  return buffer;
}

}  // namespace

void define_netlink(napi_env env, napi_value exports) { define(env, exports, "netlinkDump", netlink_dump); }
