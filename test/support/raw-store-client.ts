/** A client of a store that sends what it is told and keeps all that it gets: for comparing stores with each other. */
import { connect, type Socket } from 'node:net';
import {
  createDecoder,
  encodeMessage,
  type Message,
  MessageType,
  messageTypeName,
} from '../../src/protocols/xenstore/wire.ts';

export interface RawClient {
  /** Resolves with everything that came up to and with the reply, as text, or with `closed`. */
  ask(type: number, payload: Buffer | string, transactionId?: number): Promise<string[]>;
  /** Like {@link ask}, for TRANSACTION_START: the id. */
  start(): Promise<number>;
  /** What has come since, up to now as the store sees it. */
  rest(): Promise<string[]>;
  close(): void;
}

export async function rawClient(path: string): Promise<RawClient> {
  const socket: Socket = connect(path);
  await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  const decoder = createDecoder();
  let inbox: Message[] = [];
  let isClosed = false;
  let wake = () => {};
  let requestId = 0;
  socket.on('data', (chunk: Buffer) => {
    inbox.push(...decoder.push(chunk));
    wake();
  });
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
    wake();
  });

  async function exchange(
    type: number,
    payload: Buffer | string,
    transactionId: number,
  ): Promise<Message[] | null> {
    requestId += 1;
    const bytes = Buffer.from(payload);
    socket.write(encodeMessage({ type, requestId, transactionId, payload: bytes }));
    while (!inbox.some((message) => message.requestId === requestId)) {
      if (isClosed) return null;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const got = inbox;
    inbox = [];
    return got;
  }

  return {
    async ask(type, payload, transactionId = 0) {
      const got = await exchange(type, payload, transactionId);
      return got === null ? ['closed'] : got.map(describe);
    },
    async start() {
      const got = await exchange(MessageType.TRANSACTION_START, '\0', 0);
      const reply = got?.at(-1);
      if (reply?.type !== MessageType.TRANSACTION_START) return 0;
      return Number.parseInt(reply.payload.toString('latin1'), 10);
    },
    async rest() {
      const got = await exchange(MessageType.GET_DOMAIN_PATH, '0\0', 0);
      return got === null ? ['closed'] : got.slice(0, -1).map(describe);
    },
    close: () => void socket.destroy(),
  };
}

function describe({ type, payload }: Message): string {
  return `${messageTypeName(type)} ${payload.toString('latin1').replaceAll('\0', '|')}`;
}
