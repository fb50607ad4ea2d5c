/**
 * The native addon's interface, as `native/addon/` exports it: system calls that Node.js lacks and the inner
 * loops that JavaScript is too slow for. No policy lives there; this file is the contract between the two.
 *
 * Convention: a function that makes a system call returns its result (>= 0) or `-errno`, and never throws for
 * a system error. It throws a TypeError for arguments of a wrong type and a RangeError for those outside the buffer.
 */

/** What a {@link Poller} reports, as bits. */
export const POLL_READABLE = 1;
export const POLL_WRITABLE = 2;
/**
 * Hang-up or error. In `level` mode only an error sets it (EPOLLERR: a pipe without readers, a failed connect),
 * always together with one of the others; an end of file is just readable. In `edge` mode it may come alone.
 */
export const POLL_HANGUP = 4;

export interface Poller {
  /**
   * Which of {@link POLL_READABLE} and {@link POLL_WRITABLE} to report. A level poller begins with 0. An edge poller
   * reports from its construction on, always both and once per edge, whatever the bits are. 0 stops either; an edge
   * that comes meanwhile is reported when it goes on. The same value again costs nothing.
   */
  interest(events: number): void;
  /**
   * Stops for good, also from within the callback. The descriptor stays open: close it afterwards. Without this the
   * poller goes on for ever, even if the object is forgotten.
   */
  close(): void;
  /** Let the process exit although this poller is active, and the reverse. */
  unref(): void;
  ref(): void;
}

export interface PollerConstructor {
  /**
   * @param mode `level`: uv_poll on the descriptor itself (sockets, pipes, pidfds). `edge`: an own epoll descriptor
   *   with EPOLLIN|EPOLLOUT|EPOLLET on `fd`, which is given to uv_poll: no wake-up while a virtio port has no host
   *   (design: level-triggered polling spins there, HUP cannot be masked). Throws an Error with a
   *   negative `errno` and a `code` as Node.js does if the kernel refuses to poll the descriptor (EPERM: a plain file)
   *   or another poller of this thread has it (EEXIST).
   * @param onEvents What it throws becomes an uncaughtException.
   */
  new (fd: number, mode: 'level' | 'edge', onEvents: (events: number) => void): Poller;
}

export interface SpawnOptions {
  /** Paths to try in this order, as execvpe does: ENOENT, ENOTDIR and EACCES go on to the next. */
  candidates: string[];
  argv: string[];
  /** `NAME=value` strings; the environment is exactly this. */
  env: string[];
  /** Working directory, or null for the agent's. A failure to enter it is reported like one of exec. */
  cwd: string | null;
  /**
   * The child's descriptors 0, 1, 2 … in this order; all others are closed in it. The first three are set to block
   * (as libuv does), which {@link NativeAddon.pipe}'s ends do not by themselves.
   */
  fds: number[];
  /** Whether the child leads a session of its own. */
  newSession: boolean;
}

export interface Spawned {
  /**
   * Process id, or -errno of the exec (or of the vfork). A script without `#!` is run by /bin/sh, as by execvpe. Nobody
   * but {@link NativeAddon.waitPidfd} reaps the process.
   */
  pid: number;
  /** Pollable descriptor of the process, close-on-exec; -1 when it did not start. The caller closes it. */
  pidfd: number;
}

export interface ExitStatus {
  /** 0-255 when it exited by itself, else -1. */
  code: number;
  /** The signal's number when a signal ended it, else 0. */
  signal: number;
}

/** What FITRIM did. */
export interface Trimmed {
  trimmedBytes: bigint;
  /** What the file system took for the minimum: at least what its device can discard. */
  minimumBytes: bigint;
}

/** Sizes of a file system, in blocks of `blockBytes`. */
export interface FileSystemSize {
  blocks: bigint;
  freeBlocks: bigint;
  /** Of the free ones, those that are not reserved for root. */
  availableBlocks: bigint;
  blockBytes: bigint;
}

/** Bits 0 and 1 of {@link NativeAddon.scanString}'s result. */
export const SCAN_NON_BASE64 = 1;
export const SCAN_NON_ASCII = 2;

/** How to call a VMware host: the I/O port's instructions or one of the two hypercalls (spec vmware.md section 1.2). */
export const BACKDOOR_PORT = 0;
export const BACKDOOR_VMCALL = 1;
export const BACKDOOR_VMMCALL = 2;
export type BackdoorInstruction = typeof BACKDOOR_PORT | typeof BACKDOOR_VMCALL | typeof BACKDOOR_VMMCALL;

export interface NativeAddon {
  // --- memory
  /**
   * Anonymous private memory of `bytes`, reserved but not touched: pages cost nothing until written. Lives forever.
   * Throws an Error with `errno` if there is no room, a RangeError if it is too much for a Buffer.
   */
  reserve(bytes: number): Buffer;
  /** Gives the pages that lie wholly in [start, end) back to the kernel; they read as zero afterwards. */
  releasePages(buffer: Uint8Array, start: number, end: number): void;
  /** glibc's malloc_trim(0). */
  mallocTrim(): void;

  // --- descriptors (all are opened close-on-exec and non-blocking)
  /** Bytes read into buffer[start, end), 0 at the end (virtio port: no host connected), or -errno. */
  read(fd: number, buffer: Uint8Array, start: number, end: number): number;
  /**
   * The same from the file's position, but only what is there at once (preadv2 with RWF_NOWAIT): -EAGAIN when it would have to
   * wait for the disk, -EOPNOTSUPP where the file system cannot tell.
   */
  readNow(fd: number, buffer: Uint8Array, start: number, end: number): number;
  write(fd: number, buffer: Uint8Array, start: number, end: number): number;
  close(fd: number): number;
  /** lseek(2): the new position, or -errno; -EINVAL for an offset beyond 2^53. */
  seek(fd: number, offset: bigint, whence: number): number;
  /** Opens a character device read/write with O_NOCTTY. */
  openDevice(path: string): number;
  /**
   * Puts a tty in raw mode as qemu-ga does for isa-serial (spec qemu-ga.md section 1): input mangling, output and
   * local flags cleared, 38400 baud bits, VMIN 1, VTIME 0, pending input flushed.
   */
  makeRaw(fd: number): number;
  /** [read end, write end], or [-errno, -1]. */
  pipe(): [number, number];
  /** A connected AF_UNIX SOCK_STREAM pair, or [-errno, -1]. */
  socketPair(): [number, number];
  /** Bound and listening stream socket at `path`; it does not unlink anything. */
  listenUnix(path: string, backlog: number): number;
  listenVsock(cid: number, port: number, backlog: number): number;
  connectUnix(path: string): number;
  /** Starts to connect; finished when writable. Result 0 or -errno from {@link socketError}. */
  connectVsock(cid: number, port: number): number;
  /** The same from a port of this machine's; one below 1024 needs CAP_NET_BIND_SERVICE and tells the host that root asks. */
  connectVsockFrom(localPort: number, cid: number, port: number): number;
  accept(fd: number): number;
  /** SO_ERROR of a socket as 0 or -errno. */
  socketError(fd: number): number;
  /** Whether the descriptor is a listening socket (systemd's socket activation), and of which family. */
  listeningFamily(fd: number): 'unix' | 'vsock' | 'other' | null;
  setNonBlockingCloseOnExec(fd: number): number;
  Poller: PollerConstructor;

  // --- processes
  /** vfork + exec with default signal dispositions and an empty signal mask. */
  spawn(options: SpawnOptions): Spawned;
  /** The exit status if the process has ended (and reaps it), null while it runs, or -errno. */
  waitPidfd(pidfd: number): ExitStatus | null | number;
  /** pidfd_send_signal(2). */
  signalPidfd(pidfd: number, signal: number): number;

  // --- file systems, off the main thread, on threads of their own (a hung file system must not starve the pool)
  // (each works on a duplicate of the descriptor; while one is pending the process stays alive, short of process.exit)
  /** FIFREEZE on an open directory: 0 or -errno. */
  freeze(fd: number): Promise<number>;
  /** FITHAW. */
  thaw(fd: number): Promise<number>;
  /** FITRIM over the whole range, of extents of at least `minimumBytes` (0 to 2^64-1); or -errno. */
  trim(fd: number, minimumBytes: bigint): Promise<Trimmed | number>;
  // (these two are given a path, and do not keep the process alive)
  /** statfs(2), or -errno. */
  statfs(path: string): Promise<FileSystemSize | number>;
  /** A log page (0 to 255) of an NVMe disk's controller, `bytes` long (4 to 4096, a multiple of 4); or -errno. */
  nvmeLogPage(device: string, page: number, bytes: number): Promise<Buffer | number>;

  // --- strict base64 (spec qemu-ga.md section 3) and JSON string scanning
  /**
   * First index in [start, end) of a byte that can end or break a JSON string: `quote` itself, a backslash, a control
   * byte, 0xFE or 0xFF; `end` if there is none. The result is index * 4 + flags, where the flags tell what the
   * bytes before that index hold: SCAN_NON_BASE64 (a byte outside `A-Za-z0-9+/=`), SCAN_NON_ASCII (a byte >= 0x80).
   */
  scanString(buffer: Uint8Array, start: number, end: number, quote: number): number;
  /**
   * Decodes base64 in place: text at buffer[start, end), result at buffer[start, start + result). The letters, digits,
   * `+ / =` and newline are allowed, anything else gives -1. An incomplete last group is dropped; `=` may stand inside
   * and counts as in glib's g_base64_decode ("QUI=QUI=" gives 4 bytes, "QUI" 0, "QUJDQUI" 3).
   */
  base64Decode(buffer: Uint8Array, start: number, end: number): number;
  /** The same on the thread pool, for texts that would hold up the event loop. Leave the range alone meanwhile. */
  base64DecodeAsync(buffer: Uint8Array, start: number, end: number): Promise<number>;
  /** Writes the padded base64 of source[start, end) at target[at…]; returns how many bytes it wrote. */
  base64Encode(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number;

  // --- network
  /**
   * Sends one dump request (NLM_F_DUMP) on a NETLINK_ROUTE socket of its own and collects the whole answer, all messages
   * up to and with NLMSG_DONE or NLMSG_ERROR; or -errno. Waits at most 2 s for the kernel.
   */
  netlinkDump(request: Uint8Array): Buffer | number;
  /**
   * A NETLINK_ROUTE socket for {@link NativeAddon.netlinkRequest}, in the network namespace of an open /proc/PID/ns/net or
   * its like (-1: the own one). While it is open that namespace lives on, with all its interfaces.
   */
  netlinkOpen(namespaceFd: number): number;
  /**
   * The same as {@link NativeAddon.netlinkDump} on an open socket, also for a request with NLM_F_ACK. Answers with another
   * sequence number than the request's are dropped.
   */
  netlinkRequest(fd: number, request: Uint8Array): Buffer | number;
  /**
   * A NETLINK_ROUTE socket that hears the multicast groups of the mask (bit n-1: RTNLGRP_n), with `allNamespaces` 1 also
   * those of other network namespaces that have an id in this one; or -errno.
   */
  netlinkListen(groups: number, allNamespaces: 0 | 1): number;
  /**
   * One datagram of such a socket: [bytes, id of the namespace it comes from or -1 for the own]. Instead of the bytes 0
   * for a datagram that is not the kernel's, or -errno: -EAGAIN when there is none, -ENOBUFS when some were lost, -EMSGSIZE.
   */
  netlinkReceive(fd: number, buffer: Uint8Array): [number, number];

  // --- VMware's backdoor
  // (`registers` are EAX, EBX, ECX, EDX, ESI, EDI, EBP, in and out. false: the instruction faulted, nothing has changed; this is not
  // a VMware machine. The first call installs a handler of SIGSEGV and SIGILL for good that passes on all that is not its own.)
  /** One low-bandwidth call. */
  backdoorCall(how: BackdoorInstruction, registers: Uint32Array): boolean;
  /** High bandwidth, from the host into target[start, end): ECX and EDI are set from that. */
  backdoorRead(
    how: BackdoorInstruction,
    registers: Uint32Array,
    target: Uint8Array,
    start: number,
    end: number,
  ): boolean;
  /** High bandwidth, source[start, end) to the host: ECX and ESI are set from that. */
  backdoorWrite(
    how: BackdoorInstruction,
    registers: Uint32Array,
    source: Uint8Array,
    start: number,
    end: number,
  ): boolean;
  /** iopl(2) for this thread: 0 or -errno. Where the instruction is not a VMware host's it then reaches a real port. */
  setIoPrivilege(level: number): number;

  // --- accounts
  /**
   * crypt(3) on the thread pool: 1 if the password (without a NUL) has that hash, 0 if not, or -errno: -EINVAL for what is no
   * hash, -ENOSYS where libcrypt is not installed. Takes 0.1 s and more. It wipes its copies of the password.
   */
  checkPassword(password: Uint8Array, hash: string): Promise<number>;

  // --- machine
  /** CPUID: [eax, ebx, ecx, edx] as unsigned 32-bit numbers. */
  cpuid(leaf: number, subleaf: number): [number, number, number, number];
  /** clock_settime(CLOCK_REALTIME): 0 or -errno. */
  setRealTimeClock(nanoseconds: bigint): number;
  /** Wall clock in ns since 1970. */
  realTimeClock(): bigint;
  /**
   * adjtimex(2) with these modes (0: it only reads): [clock state or -errno, tick, status].
   * @param offset microseconds or nanoseconds, as the modes say
   */
  adjustClock(modes: number, offset: number, tick: number): [number, number, number];
  /** strerror(3) in the C locale, of errno or -errno. */
  errorText(errno: number): string;
}
