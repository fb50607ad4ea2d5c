/**
 * A second client of our daemon, beside the QGA channel: asks for `status` on the control socket every few ms, and notes how
 * long each answer took. It lives in the same event loop as the QGA session, so it sees all that holds up the loop.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ControlFramer, controlCodec } from '../src/agent/control-messages.ts';

/** Without a pause the probe itself would keep both the agent and a CPU busy, at the jobs' expense. */
const PAUSE_MS = 2;

export interface ControlProbe {
  /** @returns the delays in ms since the start or the last call */
  take(): number[];
  stop(): void;
}

export async function startControlProbe(path: string): Promise<ControlProbe> {
  const codec = await controlCodec();
  const question = codec.encode({ command: 'status' });
  const socket = await connectTo(path);
  const framer = new ControlFramer();
  let delaysMs: number[] = [];
  let askedAtMs = 0;
  let timer: NodeJS.Timeout | undefined;
  const ask = () => {
    askedAtMs = performance.now();
    socket.write(question);
  };
  socket.on('data', (piece) => {
    if (framer.push(piece).length === 0) return;
    delaysMs.push(performance.now() - askedAtMs);
    timer = setTimeout(ask, PAUSE_MS);
  });
  socket.on('error', () => undefined);
  ask();
  return {
    take() {
      const taken = delaysMs;
      delaysMs = [];
      return taken;
    },
    stop() {
      clearTimeout(timer);
      socket.destroy();
    },
  };
}

/** A daemon that serves its channel may still be about to open its control socket. */
async function connectTo(path: string): Promise<Socket> {
  for (let tries = 1; ; tries += 1) {
    const socket = connect(path);
    try {
      await once(socket, 'connect');
      return socket;
    } catch (error) {
      if (tries === 100) throw error;
    }
    await delay(20);
  }
}
