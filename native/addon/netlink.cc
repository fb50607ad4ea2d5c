/** NETLINK_ROUTE sockets, which Node.js has no class for; the messages are made and read in TypeScript. */
#include <linux/netlink.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "call.h"

namespace {

/** More than the kernel puts in one datagram of a dump (32 KiB at most). */
constexpr size_t datagram_bytes = 256 * 1024;
/** The kernel answers at once; this only keeps a lost answer from holding the event loop for ever. */
constexpr int answer_limit_ms = 2000;

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

/** False for what is left of an earlier request that nobody waits for any more. */
bool answers(const uint8_t* bytes, size_t length, uint32_t sequence) {
  auto* header = reinterpret_cast<const nlmsghdr*>(bytes);
  return NLMSG_OK(header, length) && header->nlmsg_seq == sequence;
}

/** 0 or -errno. */
int collect(int fd, Bytes request, uint8_t* datagram, Answer* answer) {
  if (request.length < sizeof(nlmsghdr)) return -EINVAL;
  nlmsghdr header;
  memcpy(&header, request.data, sizeof header);
  if (send(fd, request.data, request.length, 0) < 0) return -errno;
  for (;;) {
    sockaddr_nl sender = {};
    socklen_t sender_length = sizeof sender;
    ssize_t length = recvfrom(fd, datagram, datagram_bytes, MSG_TRUNC | MSG_DONTWAIT,
                              reinterpret_cast<sockaddr*>(&sender), &sender_length);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) {
      pollfd wait = {fd, POLLIN, 0};
      int ready = poll(&wait, 1, answer_limit_ms);
      if (ready == 0) return -ETIMEDOUT;
      if (ready < 0 && errno != EINTR) return -errno;
      continue;
    }
    if (length < 0) return -errno;
    if (sender.nl_pid != 0) continue;  // not from the kernel
    if (static_cast<size_t>(length) > datagram_bytes) return -EMSGSIZE;
    if (!answers(datagram, static_cast<size_t>(length), header.nlmsg_seq)) continue;
    if (!answer->append(datagram, static_cast<size_t>(length))) return -ENOMEM;
    if (ends_answer(datagram, static_cast<size_t>(length))) return 0;
  }
}

/** The whole answer as a Buffer, or -errno. */
napi_value ask(napi_env env, int fd, Bytes request) {
  Answer answer;
  auto* datagram = static_cast<uint8_t*>(malloc(datagram_bytes));
  int result = datagram ? collect(fd, request, datagram, &answer) : -ENOMEM;
  free(datagram);
  if (result < 0) return number(env, result);
  napi_value buffer = nullptr;
  napi_create_buffer_copy(env, answer.length, answer.data, nullptr, &buffer);
  return buffer;
}

napi_value netlink_dump(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  Bytes request = call.array(0);
  if (call.failed) return nullptr;
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return number(env, -errno);
  napi_value result = ask(env, fd, request);
  close(fd);
  return result;
}

napi_value netlink_request(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  int fd = call.descriptor(0);
  Bytes request = call.array(1);
  if (call.failed) return nullptr;
  return ask(env, fd, request);
}

struct Opening {
  int namespace_fd;
  int fd;  // or -errno
};

int route_socket() {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
  return fd < 0 ? -errno : fd;
}

void* open_in_namespace(void* data) {
  auto* opening = static_cast<Opening*>(data);
  opening->fd = setns(opening->namespace_fd, CLONE_NEWNET) < 0 ? -errno : route_socket();
  return nullptr;
}

/** On a thread that ends at once: this one never leaves its namespace, so it cannot be stuck in the other. */
int route_socket_in(int namespace_fd) {
  Opening opening = {namespace_fd, -EIO};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the main thread
  pthread_t thread;
  int error = pthread_create(&thread, nullptr, open_in_namespace, &opening);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error) return -error;
  pthread_join(thread, nullptr);
  return opening.fd;
}

napi_value netlink_open(napi_env env, napi_callback_info info) {
  Arguments<1> call(env, info);
  int namespace_fd = call.descriptor(0);
  if (call.failed) return nullptr;
  int fd = namespace_fd < 0 ? route_socket() : route_socket_in(namespace_fd);
  int on = 1;
  // the kernel's explanation of a refusal; without it there is just a number
  if (fd >= 0) setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  return number(env, fd);
}

napi_value netlink_listen(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  auto groups = static_cast<uint32_t>(call.integer(0));
  bool all_namespaces = call.integer(1) != 0;
  if (call.failed) return nullptr;
  int fd = route_socket();
  if (fd < 0) return number(env, fd);
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  int on = 1;
  bool ready = (!all_namespaces || setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on) == 0) &&
               bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  if (ready) return number(env, fd);
  int error = errno;
  close(fd);
  return number(env, -error);
}

napi_value netlink_receive(napi_env env, napi_callback_info info) {
  Arguments<2> call(env, info);
  int fd = call.descriptor(0);
  Bytes bytes = call.array(1);
  if (call.failed) return nullptr;
  sockaddr_nl sender = {};
  iovec piece = {bytes.data, bytes.length};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_name = &sender;
  message.msg_namelen = sizeof sender;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t length;
  do length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_TRUNC);
  while (length < 0 && errno == EINTR);
  int64_t result = length;
  if (length < 0) result = -errno;
  else if (static_cast<size_t>(length) > bytes.length) result = -EMSGSIZE;
  else if (sender.nl_pid != 0) result = 0;  // not from the kernel
  int namespace_id = -1;
  for (cmsghdr* part = length < 0 ? nullptr : CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level == SOL_NETLINK && part->cmsg_type == NETLINK_LISTEN_ALL_NSID)
      memcpy(&namespace_id, CMSG_DATA(part), sizeof namespace_id);
  }
  napi_value pair;
  napi_create_array_with_length(env, 2, &pair);
  napi_set_element(env, pair, 0, number(env, result));
  napi_set_element(env, pair, 1, number(env, namespace_id));
  return pair;
}

}  // namespace

void define_netlink(napi_env env, napi_value exports) {
  define(env, exports, "netlinkDump", netlink_dump);
  define(env, exports, "netlinkOpen", netlink_open);
  define(env, exports, "netlinkRequest", netlink_request);
  define(env, exports, "netlinkListen", netlink_listen);
  define(env, exports, "netlinkReceive", netlink_receive);
}
