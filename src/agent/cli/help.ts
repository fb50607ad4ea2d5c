/** `chr-agent help`. */

import type { Subcommand } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const HELP = `usage: chr-agent SUBCOMMAND [OPTIONS]

  run            the daemon, in the foreground
  status         what the running daemon is doing
  freeze-status  whether file systems are frozen, by whom and until when
  jobs           the scripts that run, and what became of the others
  doctor         what works here, and what to do about the rest
  detect         which hypervisor this is, and why
  license        print, renew or import the license (license --help)
  shaper show    which interfaces are limited, and what went through
  scripts        switch the hook scripts on and off (scripts --help)
  config check   check the configuration file
  qemu-ga        be a qemu-ga: takes qemu-ga's own options
  rpctool        ask a VMware host, as vmware-rpctool does
  install        put the package into a mounted image
  uninstall      take that back
  version        print the version
  help           this text

Each has --help. The configuration file is --config FILE, else $CHR_AGENT_CONFIG, else /etc/chr-agent/agent.toml.
`;

export const help: Subcommand = async (_argv, context) => {
  context.out(HELP);
  return EXIT.ok;
};
