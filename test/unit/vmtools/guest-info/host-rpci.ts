/** RPCI to a simulated host, by function calls. */
import { createHostLink } from '../../../../src/protocols/vmtools/host-link.ts';
import type { Rpci } from '../../../../src/protocols/vmtools/rpc.ts';
import { createVmx, type Vmx } from '../../../hosts/vmx/vmx.ts';
import { recordingLog } from '../../../support/quiet-log.ts';
import { simulatedBackdoor } from '../../../support/simulated-backdoor.ts';

export function hostRpci(): { vmx: Vmx; rpci: Rpci } {
  const vmx = createVmx();
  const backdoor = simulatedBackdoor(vmx.backdoor);
  return { vmx, rpci: createHostLink({ backdoor, connectVsocket: null, log: recordingLog() }).rpci };
}
