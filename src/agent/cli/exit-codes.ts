/** The exit statuses of every subcommand but `qemu-ga`, which has qemu-ga's own (docs/cli.md). */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  /** `status`: no daemon listens (LSB's "not running"). */
  notRunning: 3,
  /** sysexits.h's EX_CONFIG; systemd's unit does not restart on it. */
  badConfig: 78,
} as const;
