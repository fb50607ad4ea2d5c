import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DebianChroot, openDebianChroot } from './debian-chroot.ts';
import { buildPackage, PROJECT } from './package-build.ts';

const run = (program: string, ...args: string[]) =>
  execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 26 });

/** What lintian says of --uncompressed. */
const UNCOMPRESSED = 'uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball';

let built: ReturnType<typeof buildPackage>;
beforeAll(() => {
  built = buildPackage();
});
afterAll(() => rmSync(built.directory, { recursive: true }));

describe('the files', () => {
  it('tells the sizes', () => {
    expect(built.printed).toMatch(
      /_amd64\.deb: [\d.]+ MiB\n.*_linux-x64\.tar\.gz: [\d.]+ MiB\ninstalled: \d+ MiB\n/,
    );
  });

  it('has one configuration file, its dependencies, and takes the place of the others', () => {
    const field = (name: string) => run('dpkg-deb', '--field', built.deb, name).trim();
    expect(field('Conflicts')).toContain('qemu-guest-agent');
    expect(field('Replaces')).toContain('open-vm-tools');
    expect(field('Depends')).toBe('libc6 (>= 2.34), libgcc-s1 (>= 3.0), libstdc++6 (>= 5.2)');
    expect(run('dpkg-deb', '--info', built.deb, 'conffiles')).toBe('/etc/chr-agent/agent.toml\n');
  });

  it('needs no newer C library than it says', () => {
    const tree = mkdtempSync(join(tmpdir(), 'deb-'));
    run('dpkg-deb', '-x', built.deb, tree);
    const dist = join(tree, 'usr/lib/chr-agent/dist');
    const symbols = run('objdump', '-T', join(dist, 'node'), join(dist, 'chr-agent.node'));
    rmSync(tree, { recursive: true });
    const newest = (family: string, limit: number[]) => {
      for (const [, version = ''] of symbols.matchAll(new RegExp(`\\b${family}_([\\d.]+)`, 'g'))) {
        const parts = version.split('.').map(Number);
        const difference =
          limit.map((part, index) => part - (parts[index] ?? 0)).find((value) => value !== 0) ?? 0;
        expect(difference, version).toBeGreaterThanOrEqual(0);
      }
    };
    newest('GLIBC', [2, 34]);
    newest('GLIBCXX', [3, 4, 21]); // GCC 5.1
  });

  it('the tar has the same files', () => {
    const names = (text: string, prefix: string) =>
      text
        .split('\n')
        .map((line) => line.slice(prefix.length))
        .filter((line) => line !== '' && !line.includes('lintian'))
        .sort();
    const name = basename(built.tar, '.tar.gz');
    const inTar = run('tar', '-tzf', built.tar);
    const inDeb = execFileSync('sh', ['-c', 'dpkg-deb --fsys-tarfile "$1" | tar -t', 'sh', built.deb], {
      encoding: 'utf8',
    });
    expect(names(inTar, name)).toEqual(names(inDeb, '.'));
  });

  it('lintian has no complaint', () => {
    expect(
      run(
        'lintian',
        '--allow-root',
        '--suppress-tags',
        UNCOMPRESSED,
        '--fail-on',
        'none',
        '--profile',
        'debian',
        built.deb,
      ),
    ).toBe('');
  });
});

describe('in Debian', () => {
  let files: string;
  let debian: DebianChroot;
  let next: string;

  beforeAll(async () => {
    files = mkdtempSync(join(tmpdir(), 'deb-next-'));
    run('cp', built.deb, join(files, 'this.deb'));
    // the next version of the same tree
    run('dpkg-deb', '-R', built.deb, join(files, 'next'));
    run('sed', '-i', 's/^Version: .*/&+1/', join(files, 'next/DEBIAN/control'));
    run('dpkg-deb', '--root-owner-group', '-Znone', '-b', join(files, 'next'), join(files, 'next.deb'));
    rmSync(join(files, 'next'), { recursive: true });
    run('cp', join(PROJECT, 'scripts/settle-cache.mjs'), files);
    debian = await openDebianChroot(files);
    next = `${debian.filesDir}/next.deb`;
  });
  afterAll(async () => {
    await debian?.close();
    rmSync(files, { recursive: true });
  });

  const status = (name: string) =>
    debian.run(`dpkg-query -W -f '\${db:Status-Status} \${Version}\\n' ${name} || echo unknown`);

  it('is installed in the place of the others, and enabled', async () => {
    await debian.run(`dpkg -i ${debian.filesDir}/this.deb`);
    expect(await status('chr-agent')).toMatch(/^installed /);
    for (const other of ['qemu-guest-agent', 'open-vm-tools'])
      expect(await status(other)).toMatch(/^(config-files|not-installed|unknown)/);
    expect(await debian.run('dpkg --verify chr-agent; systemctl is-enabled chr-agent')).toBe('enabled\n');
    expect(await debian.run('chr-agent version')).toMatch(/^chr-agent \d/);
    expect(await debian.run('man -w chr-agent agent.toml')).toMatch(/chr-agent\.1\.gz\n.*agent\.toml\.5\.gz/);
  });

  it('the unit is right', async () => {
    expect(await debian.run('systemd-analyze verify chr-agent.service')).toBe('');
  });

  it('the code caches are accepted by the stripped runtime', async () => {
    const script = `cd "$(mktemp -d)"
      cp /usr/lib/chr-agent/dist/*.cjs* .
      flags=$(sed -n 's|^exec "$dist/node" \\(.*\\) "$dist/.*|\\1|p' /usr/lib/chr-agent/bin/chr-agent)
      for cache in *.cache; do
        /usr/lib/chr-agent/dist/node $flags ${debian.filesDir}/settle-cache.mjs "\${cache%.cache}"
        echo "$cache"
      done`;
    expect((await debian.run(script)).split('\n')).toContain('daemon.cjs.cache');
  });

  it('the configuration that is shipped is right, and so is each of its keys', async () => {
    const script = `chr-agent config check
      sed -E 's/^#([a-z-]+ = )/\\1/' /etc/chr-agent/agent.toml > /tmp/all.toml
      grep -c '^[a-z]' /tmp/all.toml
      chr-agent config check --config /tmp/all.toml`;
    expect(await debian.run(script)).toMatch(
      /^\/etc\/chr-agent\/agent.toml: ok\n2\d\n\/tmp\/all.toml: ok\n$/,
    );
  });

  it('the completion knows subcommands, actions and options', async () => {
    const complete = (line: string, word: string) =>
      debian.run(`cat > /tmp/complete.sh << 'EOF'
. /usr/share/bash-completion/completions/chr-agent
COMP_WORDS=(${line} '${word}') COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
_chr_agent chr-agent '${word}' x
echo "\${COMPREPLY[@]}"
EOF
bash /tmp/complete.sh`);
    expect(await complete('chr-agent', 'sta')).toBe('status\n');
    expect(await complete('chr-agent license', 'i')).toBe('import\n');
    expect(await complete('chr-agent install', '--r')).toBe('--root\n');
  });

  it('without systemd: its start script keeps it running, and stops it', async () => {
    const script = `service=/usr/share/chr-agent/busybox/chr-agent
      until_true() { n=0; until "$@" > /dev/null 2>&1; do n=$((n + 1)); [ $n -lt 200 ] || { echo "never: $*"; exit 1; }; sleep 0.1; done; }
      $service start
      $service start
      until_true chr-agent status
      first=$(cat /run/chr-agent/agent.pid)
      kill -KILL $first
      replaced() { [ "$(cat /run/chr-agent/agent.pid)" != $first ] && chr-agent status; }
      until_true replaced
      $service stop
      ! chr-agent status || exit 1
      pgrep -c node || true`;
    expect(await debian.run(script)).toMatch(/\n?0\n$/);
  });

  describe('while systemd runs', () => {
    beforeAll(async () => {
      // what the maintainer scripts look for, and the tools that would talk to it
      await debian.run(`mkdir -p /run/systemd/system
        for tool in deb-systemd-invoke systemctl systemd-run udevadm; do
          printf '#!/bin/sh\\necho "%s $*" >> /tmp/calls\\n' $tool > /usr/local/sbin/$tool
          chmod 755 /usr/local/sbin/$tool
        done`);
    });
    const calls = () => debian.run('cat /tmp/calls; rm /tmp/calls');

    it('an upgrade keeps state, configuration and the choice not to start it, and restarts it', async () => {
      await debian.run(`mkdir -p /var/lib/chr-agent/license
        echo token > /var/lib/chr-agent/license/license.state
        echo '# mine' >> /etc/chr-agent/agent.toml
        rm /etc/systemd/system/multi-user.target.wants/chr-agent.service
        dpkg -i ${next}`);
      expect(await status('chr-agent')).toMatch(/\+1$/m);
      expect(
        await debian.run('tail -n 1 /etc/chr-agent/agent.toml; cat /var/lib/chr-agent/license/license.state'),
      ).toBe('# mine\ntoken\n');
      expect(await debian.run('ls /etc/systemd/system/multi-user.target.wants')).not.toContain('chr-agent');
      const seen = await calls();
      expect(seen).toContain('deb-systemd-invoke restart chr-agent.service');
      expect(seen).not.toContain('stop');
    });

    it('a removal stops it, keeps the state, and takes its limits off, and no other qdisc', async () => {
      await debian.run(`ip link add lan0 type veth peer name lan1
        ip link set lan0 up
        ip link set lan1 up
        tc qdisc add dev lan0 root handle c4a0: tbf rate 1mbit burst 6256 limit 25024
        tc qdisc add dev lan1 root handle 1: tbf rate 1mbit burst 6256 limit 25024
        dpkg --remove chr-agent`);
      expect(await status('chr-agent')).toMatch(/^config-files/);
      expect(await calls()).toContain('deb-systemd-invoke stop chr-agent.service');
      const qdiscs = await debian.run('tc qdisc show');
      expect(qdiscs).not.toContain('c4a0:');
      expect(qdiscs).toContain('qdisc tbf 1: dev lan1');
      expect(
        await debian.run('ls /var/lib/chr-agent/license /etc/chr-agent; ls /usr/lib/chr-agent || true'),
      ).toMatch(/agent.toml[\s\S]*license.state[\s\S]*cannot access/);
    });

    it('a purge removes everything', async () => {
      await debian.run('mkdir -p /run/chr-agent; dpkg --purge chr-agent');
      const left = await debian.run(
        'find /etc /usr /var /run -xdev -name "*chr-agent*" -not -path "/var/cache/man/*"',
      );
      expect(left).toBe('');
    });
  });
});
