/** QEMU's words for the virtual hardware that the image has to find its disk, its network and further disks on. */

/** The bus of the boot disk. */
export type Bus = 'ide' | 'sata' | 'virtio-blk' | 'virtio-scsi';
export type NicModel = 'virtio-net-pci' | 'e1000' | 'vmxnet3' | 'rtl8139';
/** Adapter of the further disk: VMware's paravirtual one, LSI's SAS and parallel SCSI. */
export type Adapter = 'pvscsi' | 'mptsas1068' | 'lsi53c895a';

export interface Hardware {
  readonly bus: Bus;
  readonly nic: NicModel;
  readonly furtherDisk?: { readonly adapter: Adapter; readonly file: string };
}

const bootDevices: Record<Bus, readonly string[]> = {
  ide: ['-device', 'ide-hd,bus=ide.0,drive=boot,bootindex=0'],
  sata: ['-device', 'ahci,id=sata', '-device', 'ide-hd,bus=sata.0,drive=boot,bootindex=0'],
  'virtio-blk': ['-device', 'virtio-blk-pci,drive=boot,bootindex=0'],
  'virtio-scsi': [
    ...['-device', 'virtio-scsi-pci,id=scsi'],
    ...['-device', 'scsi-hd,bus=scsi.0,drive=boot,bootindex=0'],
  ],
};

/** @param disk the boot disk's file, raw */
export function hardwareArguments({ bus, nic, furtherDisk }: Hardware, disk: string): string[] {
  const words = [
    ...['-drive', `if=none,id=boot,file=${disk},format=raw,cache=unsafe`, ...bootDevices[bus]],
    ...['-netdev', 'user,id=net', '-device', `${nic},netdev=net,romfile=`],
  ];
  if (furtherDisk !== undefined) {
    words.push(
      ...['-drive', `if=none,id=further,file=${furtherDisk.file},format=raw,cache=unsafe`],
      ...['-device', `${furtherDisk.adapter},id=adapter`, '-device', 'scsi-hd,bus=adapter.0,drive=further'],
    );
  }
  return words;
}
