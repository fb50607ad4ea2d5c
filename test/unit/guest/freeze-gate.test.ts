// The freeze gate: issue 5 item 2, "while frozen nothing writes to disk".
import { describe, expect, it } from 'vitest';
import { createLog } from '../../../src/agent/log.ts';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

describe('the freeze gate', () => {
  it('lets work through when open, and gives its result or error', async () => {
    const gate = createFreezeGate();
    expect(await gate.pass(async () => 5)).toBe(5);
    await expect(gate.pass(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    await gate.shut();
    expect(gate.frozen).toBe(true);
  });

  it('is shut at once, but only empty when the work inside has ended', async () => {
    const gate = createFreezeGate();
    const work = Promise.withResolvers<void>();
    const inside = gate.pass(() => work.promise);
    let isEmpty = false;
    const shut = gate.shut().then(() => {
      isEmpty = true;
    });
    expect(gate.frozen).toBe(true);
    await turn();
    expect(isEmpty).toBe(false);
    work.resolve();
    await inside;
    await shut;
    expect(isEmpty).toBe(true);
  });

  it('keeps work out until it is open, also if it is shut again at once', async () => {
    const gate = createFreezeGate();
    await gate.shut();
    let runs = 0;
    const work = gate.pass(async () => {
      runs += 1;
    });
    const thawed = gate.whenThawed();
    gate.open();
    void gate.shut();
    await turn();
    expect(runs).toBe(0);
    gate.open();
    await work;
    await thawed;
    expect(runs).toBe(1);
  });

  it('holds log lines back, a bounded number, and lets them go in their order', async () => {
    const gate = createFreezeGate();
    const lines: string[] = [];
    const log = createLog('info', gate, (line) => void lines.push(line));
    log.info('before');
    await gate.shut();
    for (let number = 1; number <= 1002; number += 1) log.info(`line ${number}`);
    log.debug('not wanted');
    expect(lines).toEqual(['<6>before\n']);
    gate.open();
    expect(lines.slice(1, 3)).toEqual(['<4>2 log lines were dropped while frozen\n', '<6>line 3\n']);
    expect(lines.at(-1)).toBe('<6>line 1002\n');
    expect(lines).toHaveLength(1002);
  });
});
