/** A PV guest of the emulated Xen host, with the agent inside. */
import { execFileSync } from 'node:child_process';
import { createReadStream, createWriteStream } from 'node:fs';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Dom0, Output } from './dom0.ts';
import { imageDir, projectDir } from './environment.ts';

/** `xapi`: the guest owns vm-data and control, as under XenServer and XCP-ng; `xl`: vm-data is not even there. */
export type Layout = 'xapi' | 'xl';

export interface DomUOptions {
  readonly name: string;
  readonly layout: Layout;
  /** agent.toml */
  readonly config: string;
  /** Below the guest's home, written before it runs: as VM.add_to_xenstore_data does. */
  readonly xenstoreData?: Readonly<Record<string, string>>;
}

/** Less leaves no room to unpack the initramfs. */
const MEMORY_MIB = 640;
const BOOT_LIMIT_MS = 300_000;

export class DomU {
  readonly #dom0: Dom0;
  readonly #options: DomUOptions;
  /** What its address is made of: the id that it started with. */
  readonly #address: number;
  #id: number;

  /** Starts it, and waits until it takes commands. */
  static async start(dom0: Dom0, options: DomUOptions): Promise<DomU> {
    const { name } = options;
    const dir = path.join(dom0.shareDir, name);
    await makeInitramfs(dir, options);
    execFileSync('truncate', ['-s', '16M', path.join(dir, 'disk')]);
    execFileSync('mkfs.ext4', ['-q', '-F', path.join(dir, 'disk')], { stdio: 'ignore' });
    await writeFile(
      path.join(dir, 'config'),
      `name = '${name}'
type = 'pv'
kernel = '/share/vmlinux'
ramdisk = '/share/${name}/initrd'
extra = 'console=hvc0 loglevel=4 mitigations=off'
memory = ${MEMORY_MIB}
vcpus = 1
vif = ['mac=00:16:3e:01:02:03,script=vif-point']
disk = ['format=raw,vdev=xvda,access=rw,script=block-loop,target=/tmp/${name}.disk']
`,
    );
    await dom0.shell(`cp /share/${name}/disk /tmp/${name}.disk && xl create -p /share/${name}/config`);
    const id = Number(await dom0.shell(`xl domid ${name}`));
    const domU = new DomU(dom0, options, id);
    await domU.#prepareStore();
    for (const [key, value] of Object.entries(options.xenstoreData ?? {})) {
      await dom0.shell(`xenstore-write ${domU.home}/${key} ${quote(value)}`);
    }
    await dom0.shell(`xl unpause ${name}`);
    const deadline = performance.now() + BOOT_LIMIT_MS;
    while ((await domU.run('true')).status !== 0) {
      if (performance.now() > deadline) {
        throw new Error(`${name} did not come up:\n${await domU.consoleText()}`);
      }
      await sleep(500);
    }
    return domU;
  }

  private constructor(dom0: Dom0, options: DomUOptions, id: number) {
    this.#dom0 = dom0;
    this.#options = options;
    this.#id = id;
    this.#address = id;
  }

  get id(): number {
    return this.#id;
  }

  /** Its place in the store. */
  get home(): string {
    return `/local/domain/${this.#id}`;
  }

  /** Runs a shell command in it; -1 when it does not answer. */
  async run(command: string): Promise<Output> {
    const text = Buffer.from(command).toString('base64');
    const { output } = await this.#dom0.run(
      `echo '#1 ${text}' | socat -t 3600 - TCP:10.9.${this.#address}.2:2222,connect-timeout=5 2>&1`,
    );
    const [id, status = '', answer = ''] = output.trim().split(' ');
    if (id !== '#1') return { status: -1, output };
    return { status: Number(status), output: Buffer.from(answer, 'base64').toString() };
  }

  /** Runs a shell command that must succeed. @returns its output without the last newline. */
  async shell(command: string): Promise<string> {
    const { status, output } = await this.run(command);
    if (status !== 0) throw new Error(`${this.#options.name}: ${command}: status ${status}: ${output}`);
    return output.replace(/\n$/, '');
  }

  consoleText(): Promise<string> {
    return this.#dom0.shell(`tail -n 30 /var/log/xen/console/guest-${this.#options.name}.log`);
  }

  /** Saves it to an image and restores that as a new domain, as a resume or a migration does; its address stays. */
  async saveAndRestore(): Promise<void> {
    const { name } = this.#options;
    const image = `/share/${name}/saved`;
    // through a pipe, since the shared folder cannot take pages of another domain
    await this.#dom0.shell(
      `mkfifo /tmp/save && (cat /tmp/save > ${image} & xl save ${name} /tmp/save; s=$?; wait; rm /tmp/save; exit $s)`,
    );
    await this.#dom0.shell(`xl restore -p ${image} && rm ${image}`);
    this.#id = Number(await this.#dom0.shell(`xl domid ${name}`));
    await this.#prepareStore();
    const vif = `vif${this.#id}.0`;
    await this.#dom0.shell(
      `xl unpause ${name}; ip addr flush dev ${vif}; ip addr add 10.9.${this.#address}.1/24 dev ${vif}`,
    );
  }

  /** What XAPI does for a new domain, which xl does not. */
  async #prepareStore(): Promise<void> {
    if (this.#options.layout === 'xl') return;
    const folders = ['vm-data', 'xenserver/attr', 'messages', 'rrd'].map(
      (folder) => `${this.home}/${folder}`,
    );
    const commands = [
      ...folders.flatMap((folder) => [
        `xenstore-write ${folder} ''`,
        `xenstore-chmod ${folder} n${this.#id}`,
      ]),
      `xenstore-chmod ${this.home}/control n${this.#id}`,
      `xenstore-write ${this.home}/unique-domain-id $(cat /proc/sys/kernel/random/uuid)`,
    ];
    await this.#dom0.shell(commands.join(' && '));
  }
}

/** The base and a second archive with the agent: one after the other they are one initramfs. */
async function makeInitramfs(dir: string, options: DomUOptions): Promise<void> {
  const extra = path.join(dir, 'extra');
  await mkdir(path.join(extra, 'opt/chr-agent/bin'), { recursive: true });
  await mkdir(path.join(extra, 'etc/chr-agent'), { recursive: true });
  await cp(path.join(projectDir, 'dist'), path.join(extra, 'opt/chr-agent/dist'), { recursive: true });
  execFileSync('strip', [path.join(extra, 'opt/chr-agent/dist/node')]);
  await cp(path.join(projectDir, 'bin/chr-agent'), path.join(extra, 'opt/chr-agent/bin/chr-agent'));
  await writeFile(path.join(extra, 'etc/chr-agent/agent.toml'), options.config);
  await writeFile(path.join(extra, 'start'), 'exec /opt/chr-agent/bin/chr-agent run\n');
  execFileSync('sh', ['-c', 'find . -mindepth 1 | cpio --quiet -o -H newc -R 0:0 > ../extra.cpio'], {
    cwd: extra,
  });
  const initrd = path.join(dir, 'initrd');
  await pipeline(createReadStream(path.join(imageDir, 'domu.cpio')), createWriteStream(initrd));
  await pipeline(createReadStream(path.join(dir, 'extra.cpio')), createWriteStream(initrd, { flags: 'a' }));
  await rm(extra, { recursive: true });
  await rm(path.join(dir, 'extra.cpio'));
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
