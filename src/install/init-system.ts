/**
 * Which init system an image has, and how the service is enabled there without running anything of the image:
 * systemd.unit(5), openrc-run(8), busybox's inittab, and rc?.d links.
 */
import { lstatSync } from 'node:fs';
import type { ImageRoot } from './image-root.ts';
import { piecesOf } from './package-tree.ts';
import type { Change } from './record.ts';

export const INIT_SYSTEMS = ['systemd', 'openrc', 'busybox', 'sysv', 'none'] as const;
export type InitSystem = (typeof INIT_SYSTEMS)[number];

const UNIT = 'usr/lib/systemd/system/chr-agent.service';
const WANTED = 'etc/systemd/system/multi-user.target.wants/chr-agent.service';
const SERVICE = 'etc/init.d/chr-agent';
/** busybox init is the supervisor; its shutdown actions run in their order, and file systems are unmounted at the end. */
const INITTAB_LINES = {
  respawn: '::respawn:/etc/init.d/chr-agent run',
  shutdown: '::shutdown:/etc/init.d/chr-agent stop',
};
const RCS_LINE = '/etc/init.d/chr-agent start';

/** From what /sbin/init is, and what is beside it. */
export function detectInitSystem(root: ImageRoot): InitSystem {
  const init = ['sbin/init', 'init', 'usr/lib/systemd/systemd', 'lib/systemd/systemd'].find((path) =>
    root.exists(path),
  );
  const program = init === undefined ? '' : (root.follow(init).split('/').at(-1) ?? '');
  const inittab = root.readText('etc/inittab') ?? '';
  if (program === 'systemd') return 'systemd';
  if (program === 'openrc-init' || (/^[^#]*\bopenrc\b/m.test(inittab) && root.exists('sbin/openrc-run')))
    return 'openrc';
  if (program === 'busybox') return 'busybox';
  if (root.exists('etc/rc2.d') || root.exists('etc/rc.d/rc2.d')) return 'sysv';
  // an inittab of busybox has no runlevels
  if (/^[^#:\s]*::[a-z]+:/m.test(inittab)) return 'busybox';
  return 'none';
}

/** How to enable: what it is, for the user's eyes, and the changes. */
export interface Enabling {
  readonly steps: readonly Change[];
  readonly warnings: readonly string[];
}

/** Looks and plans; {@link applyChange} acts. */
export function planEnabling(root: ImageRoot, init: InitSystem): Enabling {
  switch (init) {
    case 'systemd':
      return planSystemd(root);
    case 'openrc':
      return {
        steps: [
          { kind: 'file', path: SERVICE },
          { kind: 'link', path: 'etc/runlevels/default/chr-agent', target: '/etc/init.d/chr-agent' },
        ],
        warnings: [],
      };
    case 'busybox':
      return planBusybox(root);
    case 'sysv':
      return planSysv(root);
    case 'none':
      return {
        steps: [],
        warnings: ['no init system: let yours start /usr/bin/chr-agent run, and again whenever it ends'],
      };
    default:
      return init satisfies never;
  }
}

function planSystemd(root: ImageRoot): Enabling {
  const masked = root.readLink('etc/systemd/system/chr-agent.service') === '/dev/null';
  return {
    steps: [{ kind: 'link', path: WANTED, target: `/${UNIT}` }],
    warnings: masked ? ['/etc/systemd/system/chr-agent.service masks the service: it will not start'] : [],
  };
}

function planBusybox(root: ImageRoot): Enabling {
  const service: Change = { kind: 'file', path: SERVICE };
  if (root.exists('etc/inittab')) {
    return {
      steps: [
        service,
        { kind: 'line', path: 'etc/inittab', line: INITTAB_LINES.respawn },
        { kind: 'line', path: 'etc/inittab', line: INITTAB_LINES.shutdown },
      ],
      warnings: [],
    };
  }
  const rcS = root.readText('etc/init.d/rcS');
  if (rcS === undefined) {
    return {
      steps: [service],
      warnings: ['neither /etc/inittab nor /etc/init.d/rcS: let something start /etc/init.d/chr-agent start'],
    };
  }
  // Buildroot's rcS starts whatever has such a name
  const runsLinks = /\/S(\?\?|\[0-9\]\[0-9\])\*?/.test(rcS);
  return {
    steps: runsLinks
      ? [service, { kind: 'link', path: 'etc/init.d/S15chr-agent', target: 'chr-agent' }]
      : [service, { kind: 'line', path: 'etc/init.d/rcS', line: RCS_LINE }],
    warnings: [],
  };
}

function planSysv(root: ImageRoot): Enabling {
  const base = root.exists('etc/rc2.d') ? 'etc' : 'etc/rc.d';
  const target = base === 'etc' ? '../init.d/chr-agent' : '../../init.d/chr-agent';
  const link = (level: number, name: string): Change => ({
    kind: 'link',
    path: `${base}/rc${level}.d/${name}`,
    target,
  });
  return {
    steps: [
      { kind: 'file', path: SERVICE },
      ...[2, 3, 4, 5].map((level) => link(level, 'S15chr-agent')),
      ...[0, 1, 6].map((level) => link(level, 'K15chr-agent')),
    ],
    warnings: [],
  };
}

/** The start script in the package for a service file in /etc/init.d. */
export function serviceSource(init: InitSystem): string {
  return `usr/share/chr-agent/${init === 'openrc' ? 'openrc' : 'busybox'}/chr-agent`;
}

/** Adds a line where it belongs: in an inittab before the other lines of its action, else before a last `exit`, else at the end. */
export function addLine(text: string, line: string): string {
  const lines = text.split('\n');
  if (lines.includes(line)) return text;
  const action = /^::([a-z]+):/.exec(line)?.[1];
  const first = lines.findIndex((other) =>
    action === undefined ? /^exit\b/.test(other) : action === 'shutdown' && /^[^#]*::?shutdown:/.test(other),
  );
  const at = first >= 0 ? first : lines.at(-1) === '' ? lines.length - 1 : lines.length;
  const ending = at === lines.length ? [line, ''] : [line];
  return [...lines.slice(0, at), ...ending, ...lines.slice(at)].join('\n');
}

export function removeLine(text: string, line: string): string {
  return text
    .split('\n')
    .filter((other) => other !== line)
    .join('\n');
}

/** @returns directories that were made for it; `null`: nothing was to do */
export function applyChange(root: ImageRoot, change: Change, service: string): string[] | null {
  const parent = change.path.split('/').slice(0, -1).join('/');
  switch (change.kind) {
    case 'file': {
      const made = root.makeDirectory(parent);
      root.writeFile(change.path, piecesOf(service), 0o755);
      return made;
    }
    case 'link': {
      if (root.readLink(change.path) === change.target) return null;
      const made = root.makeDirectory(parent);
      root.writeLink(change.path, change.target);
      return made;
    }
    case 'removed-link':
      root.remove(change.path);
      return [];
    case 'line': {
      const text = root.readText(change.path) ?? '';
      const changed = addLine(text, change.line);
      if (changed === text) return null;
      root.writeFile(change.path, [Buffer.from(changed)], modeOf(root, change.path));
      return [];
    }
    default:
      return change satisfies never;
  }
}

/** Takes a change back, if what it made is still as it was. @returns whether there was something to do */
export function revertChange(root: ImageRoot, change: Change): boolean {
  switch (change.kind) {
    case 'file':
      if (root.stat(change.path) === undefined) return false;
      root.remove(change.path);
      return true;
    case 'link':
      if (root.readLink(change.path) !== change.target) return false;
      root.remove(change.path);
      return true;
    case 'removed-link':
      if (root.stat(change.path) !== undefined) return false;
      root.makeDirectory(change.path.split('/').slice(0, -1).join('/'));
      root.writeLink(change.path, change.target);
      return true;
    case 'line': {
      const text = root.readText(change.path);
      if (text === undefined) return false;
      const changed = removeLine(text, change.line);
      if (changed === text) return false;
      root.writeFile(change.path, [Buffer.from(changed)], modeOf(root, change.path));
      return true;
    }
    default:
      return change satisfies never;
  }
}

function modeOf(root: ImageRoot, path: string): number {
  const stat = lstatSync(root.follow(path), { throwIfNoEntry: false });
  return stat === undefined ? 0o644 : stat.mode & 0o7777;
}
