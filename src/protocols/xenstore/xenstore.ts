/**
 * The store as this protocol's services see it (spec/xenstore.md sections 1 and 2). {@link connection.ts} speaks the wire protocol
 * over one stream, {@link link.ts} keeps such a connection for as long as the daemon lives.
 *
 * Paths are relative to the domain's home unless they begin with `/`; an Error of a request is a {@link XenstoreError}.
 */

/** The store's own error names (spec section 2); an unknown one stays as it came. */
export class XenstoreError extends Error {
  override name = 'XenstoreError';
  /** `ENOENT`, `EACCES`, `EAGAIN` … as on the wire. */
  readonly code: string;
  constructor(code: string, what: string) {
    super(`${what}: ${code}`);
    this.code = code;
  }
}

/** The connection ended before the answer came: the request may or may not have been done. */
export class XenstoreGone extends Error {
  override name = 'XenstoreGone';
}

/** Requests on nodes, outside or inside of a transaction. @throws {XenstoreError} @throws {XenstoreGone} */
export interface XenstoreAccess {
  read(path: string): Promise<Buffer>;
  /** Names of the children, also of more than one message can hold. */
  directory(path: string): Promise<string[]>;
  /** Makes missing ancestors. At most 4096 bytes with path and NUL (4080 on the device); the store may allow less. */
  write(path: string, value: Uint8Array | string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  /** The node and all below it. A missing one is no error. */
  remove(path: string): Promise<void>;
  permissions(path: string): Promise<string[]>;
  setPermissions(path: string, permissions: readonly string[]): Promise<void>;
}

export interface Watch {
  /** Stops it; events that are under way are not delivered any more. Never rejects. */
  close(): Promise<void>;
}

export interface Xenstore extends XenstoreAccess {
  /**
   * Runs `work` in a transaction and commits; on EAGAIN everything again, with a little pause. What `work` throws abandons it.
   * Keep it short: nothing but requests inside.
   * @throws {XenstoreError} EAGAIN after so many attempts that something must be wrong
   */
  transaction<T>(work: (access: XenstoreAccess) => Promise<T>): Promise<T>;
  /**
   * Calls back once when the watch stands, and for each event, with the changed node's path; also, spuriously, whenever the connection was lost
   * and made anew or the domain has resumed. Handlers are idempotent.
   */
  watch(path: string, onEvent: (path: string) => void): Promise<Watch>;
}
