/*
 * The connection to the host simulator: a unix stream socket, one request, one response.
 *
 * Little endian:
 *   request:  u32 length of the rest, u32 kind, u32 pid, u32 tid, u64 ax bx cx dx si di bp, data...
 *   response: u32 length of the rest, u32 flags, u64 ax bx cx dx si di bp, data...
 * Kinds: enum kind. Flag bit 0: not handled, the fault goes to the guest program.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "tracer.h"

#define MAX_DATA (4u << 20)

struct request { uint32_t length, kind, pid, tid; uint64_t registers[REGISTERS]; } __attribute__((packed));
struct response { uint32_t length, flags; uint64_t registers[REGISTERS]; } __attribute__((packed));

const char *simulator_path;
static int sock = -1;

void link_open(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) { errno = ENAMETOOLONG; die(path); }
    strcpy(address.sun_path, path);
    sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof address)) die(path);
    simulator_path = path;
}

static int send_all(const void *from, size_t size)
{
    const char *at = from;
    while (size) {
        ssize_t sent = send(sock, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        at += sent; size -= (size_t)sent;
    }
    return 0;
}

static int receive_all(void *to, size_t size)
{
    char *at = to;
    while (size) {
        ssize_t got = recv(sock, at, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return -1;
        at += got; size -= (size_t)got;
    }
    return 0;
}

/* One exchange; 0 when the simulator has handled it. The block received (if `out`) belongs to the caller. */
int ask(uint32_t kind, pid_t tid, uint64_t registers[REGISTERS], const void *in, uint32_t in_size, void **out, uint32_t *out_size)
{
    struct request request = { .length = sizeof request - 4 + in_size, .kind = kind, .pid = (uint32_t)process_of(tid), .tid = (uint32_t)tid };
    struct response response;
    uint32_t size;
    void *data = NULL;

    if (out) { *out = NULL; *out_size = 0; }
    if (sock < 0) return 1;
    memcpy(request.registers, registers, sizeof request.registers);
    if (send_all(&request, sizeof request) || send_all(in, in_size) || receive_all(&response, sizeof response)) goto lost;
    if (response.length < sizeof response - 4) goto lost;
    size = response.length - (uint32_t)(sizeof response - 4);
    if (size > MAX_DATA) goto lost;
    if (size) {
        if (!(data = malloc(size))) die("malloc");
        if (receive_all(data, size)) goto lost;
    }
    memcpy(registers, response.registers, sizeof response.registers);
    if (out) { *out = data; *out_size = size; }
    else free(data);
    return (int)(response.flags & 1);
lost:
    free(data);
    fprintf(stderr, "vmx-tracer: the simulator is gone, backdoor calls fault from now on\n");
    close(sock);
    sock = -1;
    return 1;
}

void tell(uint32_t kind, pid_t tid, uint64_t registers[REGISTERS], const void *in, uint32_t in_size)
{
    ask(kind, tid, registers, in, in_size, NULL, NULL);
}
