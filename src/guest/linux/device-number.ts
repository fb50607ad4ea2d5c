/** Device numbers as stat(2) gives them: Linux' dev_t, makedev(3). */

export interface DeviceNumber {
  major: number;
  minor: number;
}

export function splitDeviceNumber(device: bigint): DeviceNumber {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  };
}
