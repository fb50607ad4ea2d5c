// The marker file: a hint for the next daemon (spec qemu-ga.md section 4).
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFreezeGate } from '../../../src/guest/freeze-gate.ts';
import { createMarkerFile, type Marker } from '../../../src/quiesce/marker.ts';

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'chr-agent-marker-'));
  path = join(root, 'qga.state.isfrozen');
  boot('one');
});
afterEach(() => rmSync(root, { recursive: true }));

function boot(id: string): void {
  mkdirSync(join(root, 'proc/sys/kernel/random'), { recursive: true });
  writeFileSync(join(root, 'proc/sys/kernel/random/boot_id'), `${id}\n`);
}

const open = () => createMarkerFile(path, createFreezeGate(), root);
const MARKER: Marker = { owner: 'qemu-ga', sinceMs: 5, mountPoints: ['/data\n', '/'], notice: null };

describe('the marker', () => {
  it('is found by the next one, for root only', async () => {
    await open().write(MARKER);
    expect(open().find()).toEqual({ kind: 'marker', marker: MARKER });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await open().write({ ...MARKER, notice: 'thawed' });
    expect(open().find()).toEqual({ kind: 'marker', marker: { ...MARKER, notice: 'thawed' } });
    await open().remove();
    await open().remove();
    expect(open().find()).toEqual({ kind: 'none' });
  });

  it('is gone after a boot', async () => {
    await open().write(MARKER);
    boot('two');
    expect(open().find()).toEqual({ kind: 'none' });
    expect(existsSync(path)).toBe(false);
  });

  it.each([
    '',
    'x',
    '{}',
    '[]',
    'null',
    '{"version":2}',
    '{"version":1,"bootId":"one","owner":1,"sinceMs":1,"mountPoints":[],"notice":null}',
    '{"version":1,"bootId":"one","owner":"a","sinceMs":1,"mountPoints":[1],"notice":null}',
  ])('%j is none of ours, but somebody was frozen', (text) => {
    writeFileSync(path, text);
    expect(open().find()).toEqual({ kind: 'unreadable' });
  });
});
