/** Requests on nodes over anything that carries requests, outside or inside of a transaction (spec/xenstore.md section 2). */
import {
  decodeDirectoryPart,
  decodeTexts,
  encodeTexts,
  MessageType,
  type MessageTypeNumber,
} from './wire.ts';
import { type XenstoreAccess, XenstoreError } from './xenstore.ts';

/**
 * Sends one request and resolves with its reply's payload.
 * @param what the request's object, for error texts
 */
export type Request = (type: MessageTypeNumber, payload: Buffer, what: string) => Promise<Buffer>;

/** A long directory that changes while its parts are read is begun anew; more often than this it is not worth it. */
const MAX_DIRECTORY_ATTEMPTS = 20;

export function createAccess(request: Request): XenstoreAccess {
  const onPath = (type: MessageTypeNumber, path: string) => request(type, encodeTexts(path), path);
  return {
    read: (path) => onPath(MessageType.READ, path),
    async directory(path) {
      try {
        return decodeTexts(await onPath(MessageType.DIRECTORY, path));
      } catch (error) {
        if (error instanceof XenstoreError && error.code === 'E2BIG') return longDirectory(request, path);
        throw error;
      }
    },
    async write(path, value) {
      await request(MessageType.WRITE, Buffer.concat([encodeTexts(path), bytesOf(value)]), path);
    },
    async makeDirectory(path) {
      await onPath(MessageType.MKDIR, path);
    },
    async remove(path) {
      try {
        await onPath(MessageType.RM, path);
      } catch (error) {
        // the store says so only when the parent is missing as well
        if (!(error instanceof XenstoreError && error.code === 'ENOENT')) throw error;
      }
    },
    async permissions(path) {
      return decodeTexts(await onPath(MessageType.GET_PERMS, path));
    },
    async setPermissions(path, permissions) {
      await request(MessageType.SET_PERMS, encodeTexts(path, ...permissions), path);
    },
  };
}

/** The names of a node's children, part by part. */
async function longDirectory(request: Request, path: string): Promise<string[]> {
  for (let attempt = 0; attempt < MAX_DIRECTORY_ATTEMPTS; attempt += 1) {
    const names = await directoryParts(request, path);
    if (names !== null) return names;
  }
  throw new XenstoreError('EAGAIN', path);
}

/** null when the node changed in between. */
async function directoryParts(request: Request, path: string): Promise<string[] | null> {
  const names: string[] = [];
  let offset = 0;
  let generation: string | undefined;
  while (true) {
    const payload = await request(MessageType.DIRECTORY_PART, encodeTexts(path, String(offset)), path);
    const part = decodeDirectoryPart(payload);
    if (generation !== undefined && part.generation !== generation) return null;
    generation = part.generation;
    names.push(...part.names);
    offset += part.listBytes;
    if (part.isLast) return names;
    if (part.listBytes === 0) return null; // never ends otherwise
  }
}

function bytesOf(value: Uint8Array | string): Uint8Array {
  return typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
}
