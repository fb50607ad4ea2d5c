import { describe, expect, it } from 'vitest';
import { searchCandidates } from '../../../src/scripts/program.ts';

describe('where a program is searched (spec qemu-ga.md section 6)', () => {
  it.each([
    ['with a slash', '/bin/x', [], '/usr/bin', ['/bin/x']],
    ['relative with a slash', './x', ['PATH=/a'], '/usr/bin', ['./x']],
    ["in the agent's PATH", 'x', ['A=1'], '/usr/bin:/bin', ['/usr/bin/x', '/bin/x']],
    ['in PATH of env if it has one', 'x', ['A=1', 'PATH=/a:/b/', 'PATH=/c'], '/usr/bin', ['/a/x', '/b/x']],
    ['an empty place is the working directory', 'x', ['PATH=:/a'], undefined, ['./x', '/a/x']],
    ['the root directory', 'x', ['PATH=/'], undefined, ['/x']],
    ['without any PATH', 'x', [], undefined, ['/bin/x', '/usr/bin/x']],
    ['no name', '', [], '/bin', []],
  ])('%s', (_name, path, env, agentPath, expected) => {
    expect(searchCandidates(path, env, agentPath)).toEqual(expected);
  });
});
