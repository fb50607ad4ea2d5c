/** The signal mask of the calling thread. */
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

constexpr uint64_t no_signal = 0;
constexpr uint64_t every_signal = ~uint64_t{0};
/** glibc tells threads with 32 and 33 about cancellation and setuid: a thread that lives on must hear them. */
constexpr uint64_t every_public_signal = every_signal & ~(uint64_t{3} << 31);

/** The kernel's own call: glibc's would leave 32 and 33 out of any mask. */
inline void set_signal_mask(uint64_t mask, uint64_t* old) {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, old, sizeof mask);
}

/**
 * The same for dispositions: glibc's sigaction(2) refuses 32 and 33, which its own posix_spawn(3) ignores in what it starts, so
 * that everything below a `make` would inherit that.
 */
inline void set_default_action(int number) {
  struct {
    void* handler;
    unsigned long flags;
    void* restorer;
    uint64_t mask;
  } action = {nullptr, 0, nullptr, 0};
  syscall(SYS_rt_sigaction, number, &action, nullptr, sizeof action.mask);
}
