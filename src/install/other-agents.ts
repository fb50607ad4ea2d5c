/** Other guest agents that an image starts: they would hold the channel to the host, or do the same things twice. */
import type { ImageRoot } from './image-root.ts';
import type { InitSystem } from './init-system.ts';
import type { Change } from './record.ts';

export interface OtherService {
  /** As its init system calls it. */
  readonly name: string;
  /** Which of the programs it is, by its package's name. */
  readonly agent: string;
  /** What switches it off; empty: only by hand. */
  readonly disabling: readonly Change[];
}

/** By the names that distributions give their services. */
const SERVICES: ReadonlyMap<string, string> = new Map([
  ['qemu-guest-agent', 'qemu-guest-agent'],
  ['qemu-ga', 'qemu-guest-agent'],
  ['open-vm-tools', 'open-vm-tools'],
  ['vmtoolsd', 'open-vm-tools'],
  ['vgauth', 'open-vm-tools'],
  ['vgauthd', 'open-vm-tools'],
  ['xe-daemon', 'xe-guest-utilities'],
  ['xe-linux-distribution', 'xe-guest-utilities'],
  ['xe-guest-utilities', 'xe-guest-utilities'],
  ['xen-guest-agent', 'xen-guest-agent'],
]);
const PROGRAMS: ReadonlyMap<string, string> = new Map([
  ...SERVICES,
  ['xe-update-guest-attrs', 'xe-guest-utilities'],
]);

export function findOtherServices(root: ImageRoot, init: InitSystem): OtherService[] {
  switch (init) {
    case 'systemd':
      return [...SERVICES].flatMap(([name, agent]) => systemdService(root, name, agent));
    case 'openrc':
      return root.list('etc/runlevels').flatMap((level) => linksTo(root, `etc/runlevels/${level}`, /^(.*)$/));
    case 'sysv':
    case 'busybox':
      return [...startLinks(root), ...linesOf(root, 'etc/inittab'), ...linesOf(root, 'etc/init.d/rcS')];
    case 'none':
      return [];
    default:
      return init satisfies never;
  }
}

/** A unit that is there can be started, by a .wants link or by a udev rule as qemu-guest-agent's; a masked one cannot. */
function systemdService(root: ImageRoot, name: string, agent: string): OtherService[] {
  const own = `etc/systemd/system/${name}.service`;
  const isShipped = ['usr/lib', 'lib'].some((lib) => root.exists(`${lib}/systemd/system/${name}.service`));
  if (root.readLink(own) === '/dev/null' || (!isShipped && root.stat(own) === undefined)) return [];
  const canMask = root.stat(own) === undefined;
  return [
    {
      name: `${name}.service`,
      agent,
      disabling: canMask ? [{ kind: 'link', path: own, target: '/dev/null' }] : [],
    },
  ];
}

function startLinks(root: ImageRoot): OtherService[] {
  const levels = ['etc', 'etc/rc.d'].flatMap((base) => [2, 3, 4, 5].map((level) => `${base}/rc${level}.d`));
  return [...levels, 'etc/init.d'].flatMap((directory) => linksTo(root, directory, /^S\d\d(.*)$/));
}

function linksTo(root: ImageRoot, directory: string, pattern: RegExp): OtherService[] {
  return root.list(directory).flatMap((entry) => {
    const name = pattern.exec(entry)?.[1] ?? '';
    const agent = SERVICES.get(name);
    if (agent === undefined) return [];
    const path = `${directory}/${entry}`;
    const target = root.readLink(path);
    return [
      {
        name: `/${path}`,
        agent,
        disabling: target === undefined ? [] : [{ kind: 'removed-link' as const, path, target }],
      },
    ];
  });
}

function linesOf(root: ImageRoot, path: string): OtherService[] {
  const lines = (root.readText(path) ?? '').split('\n').filter((line) => !line.trimStart().startsWith('#'));
  return lines.flatMap((line) => {
    const program = line.split(/[\s:/;&|]+/).find((word) => PROGRAMS.has(word));
    const agent = program === undefined ? undefined : PROGRAMS.get(program);
    return agent === undefined ? [] : [{ name: `/${path}: ${line.trim()}`, agent, disabling: [] }];
  });
}
