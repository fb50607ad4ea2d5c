/** The requests that the benchmark sends, ready for the wire. */

export function request(command: string, args?: Record<string, unknown>): Buffer {
  return Buffer.from(`${JSON.stringify({ execute: command, arguments: args })}\n`, 'latin1');
}

export const PING = request('guest-ping');

/** 0xFF, then guest-sync-delimited. */
export function delimitedSync(id: number): Buffer {
  return Buffer.concat([Buffer.of(0xff), request('guest-sync-delimited', { id })]);
}

/** A guest-file-write of `bytes` bytes, none of them special. */
export function writeRequest(handle: number, bytes: number): Buffer {
  const data = Buffer.allocUnsafe(bytes);
  for (let at = 0; at < bytes; at += 1) data[at] = (at * 31 + (at >> 8)) & 0xff;
  return request('guest-file-write', { handle, 'buf-b64': data.toString('base64') });
}

export const readRequest = (handle: number, bytes: number) =>
  request('guest-file-read', { handle, count: bytes });

export const rewindRequest = (handle: number) =>
  request('guest-file-seek', { handle, offset: 0, whence: 'set' });

export const execRequest = (path: string, arg: readonly string[] = [], captureOutput = false) =>
  request('guest-exec', { path, arg, 'capture-output': captureOutput });

/** A script, for the `chr` profile. */
export const scriptRequest = (script: string) =>
  request('guest-exec', { 'input-data': Buffer.from(script).toString('base64') });
