/** `chr-agent install`: puts the package that it runs from into a mounted image. */
import { join } from 'node:path';
import { INIT_SYSTEMS, type InitSystem } from '../../install/init-system.ts';
import { install as installInto } from '../../install/install.ts';
import { readPackageTree } from '../../install/package-tree.ts';
import { VERSION } from '../version.ts';
import { HELP_OPTION, parseOptions, type Subcommand, UsageError } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { openImage } from './image-directory.ts';

const USAGE = `usage: chr-agent install --root DIR [--init NAME] [--no-enable] [--disable-others] [--yes]

Copies the package that this program runs from (the unpacked tar, or the installed package) into a mounted image and enables the
service there. It runs nothing of the image and needs no network. It can be repeated: what is there already stays, also agent.toml.

  --root DIR        where the image's root file system is mounted
  --init NAME       ${INIT_SYSTEMS.join(', ')}; else what the image has
  --no-enable       do not start the service at boot
  --disable-others  switch off qemu-guest-agent, open-vm-tools and xe-guest-utilities in the image
  --yes             DIR may be / itself

Exit status: 0 done, 1 failed or not possible, 2 usage.
`;

export const install: Subcommand = async (argv, context) => {
  const options = parseOptions(argv, {
    ...HELP_OPTION,
    root: { type: 'string' },
    init: { type: 'string' },
    'no-enable': { type: 'boolean' },
    'disable-others': { type: 'boolean' },
    yes: { type: 'boolean' },
  });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  const init = options.init ?? 'auto';
  if (!isInit(init)) throw new UsageError(`'--init' is one of ${INIT_SYSTEMS.join(', ')}`);
  const root = openImage(options.root, options.yes === true);
  installInto({
    root,
    // dist/ is in /usr/lib/chr-agent
    tree: readPackageTree(join(import.meta.dirname, '../../../..')),
    version: VERSION,
    init,
    enables: options['no-enable'] !== true,
    disablesOthers: options['disable-others'] === true,
    say: (line) => context.out(`${line}\n`),
    warn: (line) => context.err(`chr-agent: warning: ${line}\n`),
  });
  return EXIT.ok;
};

function isInit(word: string): word is InitSystem | 'auto' {
  return word === 'auto' || (INIT_SYSTEMS as readonly string[]).includes(word);
}
