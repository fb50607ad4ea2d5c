/** A byte channel to the host, as a protocol's session sees it: non-blocking, pull-style, one consumer. */

export interface ChannelEvents {
  readable(): void;
  writable(): void;
}

export interface Channel {
  /**
   * Reads into target[start, end).
   * @returns the bytes read; 0 when there are none now; -1 when the channel has ended (peer closed it, device gone).
   */
  read(target: Buffer, start: number, end: number): number;
  /** Writes source[start, end). @returns the bytes taken; 0 when none now; -1 when the channel is broken. */
  write(source: Buffer, start: number, end: number): number;
  /**
   * Whether readiness is reported once per burst. Then a consumer reads until 0; otherwise a read that did not fill
   * its target may be taken as the last one.
   */
  readonly isEdgeTriggered: boolean;
  /** Which readiness is reported from now on. Never both false on an edge-triggered channel: it costs nothing there. */
  want(readable: boolean, writable: boolean): void;
  /** Who is told. Given once, by the consumer. */
  listen(events: ChannelEvents): void;
  /** Both readinesses are reported once more, so that a consumer that waits finds the channel ended. */
  close(): void;
}
