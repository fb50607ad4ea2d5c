/** A directory that stands for `/`: a few files of /proc, /sys, /etc as a test wants them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export interface FakeRoot extends Disposable {
  readonly path: string;
  /** Makes files with all directories above them. A name that ends with a slash is a directory. */
  add(files: Record<string, string | Uint8Array>): void;
}

export function makeFakeRoot(files: Record<string, string | Uint8Array> = {}): FakeRoot {
  const path = mkdtempSync(join(tmpdir(), 'chr-agent-root-'));
  const root: FakeRoot = {
    path,
    add(more) {
      for (const [name, content] of Object.entries(more)) {
        const file = join(path, name);
        mkdirSync(name.endsWith('/') ? file : dirname(file), { recursive: true });
        if (!name.endsWith('/')) writeFileSync(file, content);
      }
    },
    [Symbol.dispose]: () => rmSync(path, { recursive: true }),
  };
  root.add(files);
  return root;
}
