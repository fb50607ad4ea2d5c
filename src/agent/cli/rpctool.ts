/**
 * `chr-agent rpctool`: asks a VMware host one question, for scripts written for vmware-rpctool; output and exit statuses are that
 * tool's (open-vm-tools 12.2; docs/cli.md has the differences). It needs no daemon.
 */
import { native } from '../../native/index.ts';
import { probeBackdoor } from '../../protocols/vmtools/backdoor.ts';
import { ChannelLost, type ChannelStep, RpcRefused } from '../../protocols/vmtools/channel-errors.ts';
import { requestOnce } from '../../protocols/vmtools/rpci.ts';
import type { Subcommand } from './command.ts';

const USAGE = `rpctool syntax:

  -h | --help\tprint usage.
  rpctool <text>\tsend <text> as an RPC command.
`;

const SUCCESS = 0;
const FAILURE = 1;
const NO_VMWARE = 255;

const TROUBLE: Record<ChannelStep, string> = {
  open: 'RpcOut: Unable to open the communication channel',
  send: 'RpcOut: Unable to send the RPCI command',
  receive: 'RpcOut: Unable to receive the result of the RPCI command',
  reply: 'RpcOut: Invalid format for the result of the RPCI command',
};

export const rpctool: Subcommand = async ([request], context) => {
  if (request === '-h' || request === '--help') {
    context.err(USAGE);
    return SUCCESS;
  }
  const backdoor = probeBackdoor(native);
  if (backdoor === null) {
    context.err(
      'Error: chr-agent rpctool must be run inside a virtual machine on a VMware hypervisor product.\n',
    );
    return NO_VMWARE;
  }
  if (request === undefined) {
    context.err(USAGE);
    return FAILURE;
  }
  try {
    const result = await requestOnce(backdoor, request);
    context.out(line(result));
    return SUCCESS;
  } catch (error) {
    if (error instanceof RpcRefused) context.err(line(error.reason));
    else if (error instanceof ChannelLost) context.err(`${TROUBLE[error.step]}\n`);
    else throw error;
    return FAILURE;
  }
};

/** The bytes as they are, up to the first NUL, as a line. */
function line(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return Buffer.concat([end < 0 ? bytes : bytes.subarray(0, end), Buffer.from('\n')]);
}
