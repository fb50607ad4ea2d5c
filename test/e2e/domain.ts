/** libvirt's description of the test guest: no KVM needed (TCG), direct kernel boot, the agent's virtio-serial channel. */

export const DOMAIN = 'chr';
/** The same in every definition, so that a second one replaces the first. */
const UUID = '5f2c9d1e-7a80-4b63-b1d0-c8e4a6f79211';

export interface DomainFiles {
  readonly kernel: string;
  readonly initrd: string;
  readonly rootDisk: string;
  /** A second disk, /dev/vdb. */
  readonly dataDisk: string;
  /** Unix socket that QEMU listens on for the agent's channel; libvirt, or the test in its place, connects. */
  readonly agentSocket: string;
  /** Prefix of the two of the test transport for VMware's protocol (vmtools-host.ts). */
  readonly vmtoolsSockets: string;
  readonly consoleSocket: string;
  readonly consoleLog: string;
}

export type Init = 'fast' | 'systemd';

const initPrograms: Record<Init, string> = {
  fast: '/usr/local/lib/e2e/fastinit',
  systemd: '/lib/systemd/systemd',
};

/** Words that save time under TCG: no mitigations, no zeroing, no probing of ports that are not there. The console gets
 * errors only, each character costs an exit. */
const fastBootWords =
  `quiet loglevel=3 mitigations=off nokaslr init_on_alloc=0 random.trust_cpu=on no_timer_check
 tsc=reliable audit=0 apparmor=0 nowatchdog cryptomgr.notests i8042.noaux i8042.nokbd 8250.nr_uarts=1
 rcupdate.rcu_expedited=1 net.ifnames=0 systemd.show_status=0`.replaceAll('\n', '');

/** The domain's XML; paths must be free of XML's special characters. */
export function domainXml(files: DomainFiles, init: Init): string {
  return `<domain type='qemu'>
  <name>${DOMAIN}</name>
  <uuid>${UUID}</uuid>
  <memory unit='MiB'>512</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>${files.kernel}</kernel>
    <initrd>${files.initrd}</initrd>
    <cmdline>root=/dev/vda rootfstype=ext4 rw console=ttyS0 init=${initPrograms[init]} ${fastBootWords}</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='unsafe' discard='unmap'/>
      <source file='${files.rootDisk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='unsafe' discard='unmap'/>
      <source file='${files.dataDisk}'/>
      <target dev='vdb' bus='virtio'/>
      <serial>e2e-data</serial>
    </disk>
    <controller type='usb' model='none'/>
    <controller type='virtio-serial'/>
    <channel type='unix'>
      <source mode='bind' path='${files.agentSocket}'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
${['rpci', 'tclo'].map((service) => vmtoolsChannel(files, service)).join('\n')}
    <interface type='user'>
      <mac address='52:54:00:c4:a7:01'/>
      <model type='virtio'/>
      <rom enabled='no'/>
    </interface>
    <serial type='unix'>
      <source mode='bind' path='${files.consoleSocket}'/>
      <log file='${files.consoleLog}' append='off'/>
      <target type='isa-serial' port='0'/>
    </serial>
    <video><model type='none'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
`;
}

function vmtoolsChannel({ vmtoolsSockets }: DomainFiles, service: string): string {
  return `    <channel type='unix'>
      <source mode='bind' path='${vmtoolsSockets}.${service}'/>
      <target type='virtio' name='chr-agent.vmtools.${service}'/>
    </channel>`;
}
