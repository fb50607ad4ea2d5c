/** Which protocols run: starts and stops them as the detection suggests and the configuration says. */
import type { Config } from './config.ts';
import type { Detection } from './detect.ts';
import { PROTOCOLS, type Protocol, type ProtocolContext, type RunningProtocol } from './protocols.ts';
import type { ProtocolStatus } from './status.ts';

export interface ProtocolTable {
  /** Starts, stops and restarts protocols as the configuration says. @returns those that run now. */
  update(config: Config): Promise<RunningProtocol[]>;
  status(): ProtocolStatus[];
  stop(): Promise<void>;
}

interface ProtocolEntry {
  readonly protocol: Protocol;
  settings: string;
  running: RunningProtocol | undefined;
  status: ProtocolStatus;
}

export function createProtocolTable(
  context: Omit<ProtocolContext, 'config' | 'onState'>,
  detection: Detection,
): ProtocolTable {
  const entries: ProtocolEntry[] = PROTOCOLS.map((protocol) => ({
    protocol,
    settings: '',
    running: undefined,
    status: { name: protocol.name, state: 'off', detail: '' },
  }));

  async function update(entry: ProtocolEntry, config: Config): Promise<void> {
    const { protocol } = entry;
    const setSwitch = protocol.isEnabled(config);
    const { suggested, why } = detection.protocols[protocol.name];
    const isOn = setSwitch === 'auto' ? suggested : setSwitch;
    const settings = JSON.stringify([isOn, protocol.settings(config)]);
    if (settings === entry.settings) return;
    entry.settings = settings;
    await entry.running?.stop();
    entry.running = undefined;
    const setStatus = (state: ProtocolStatus['state'], detail: string) => {
      entry.status = { name: protocol.name, state, detail };
    };
    if (!isOn) {
      setStatus('off', setSwitch === 'auto' ? why : 'switched off in the configuration');
      return;
    }
    setStatus('waiting', 'starting');
    entry.running = await protocol.start({ ...context, config, onState: setStatus });
  }

  return {
    async update(config) {
      for (const entry of entries) await update(entry, config);
      return entries.flatMap(({ running }) => (running === undefined ? [] : [running]));
    },
    status: () => entries.map(({ status }) => status),
    async stop() {
      await Promise.all(entries.map(({ running }) => running?.stop()));
    },
  };
}
