/** `chr-agent uninstall`: takes back what `chr-agent install` did to an image. */
import { uninstall as uninstallFrom } from '../../install/uninstall.ts';
import { HELP_OPTION, parseOptions, type Subcommand } from './command.ts';
import { EXIT } from './exit-codes.ts';
import { openImage } from './image-directory.ts';

const USAGE = `usage: chr-agent uninstall --root DIR [--purge] [--yes]

Takes back what chr-agent install did to a mounted image: the files, the service, and what was switched off.

  --root DIR   where the image's root file system is mounted
  --purge      the configuration and the state too: license, system id, files
  --yes        DIR may be / itself

Exit status: 0 done, 1 failed or nothing was installed there, 2 usage.
`;

export const uninstall: Subcommand = async (argv, context) => {
  const options = parseOptions(argv, {
    ...HELP_OPTION,
    root: { type: 'string' },
    purge: { type: 'boolean' },
    yes: { type: 'boolean' },
  });
  if (options.help) {
    context.out(USAGE);
    return EXIT.ok;
  }
  uninstallFrom({
    root: openImage(options.root, options.yes === true),
    purges: options.purge === true,
    say: (line) => context.out(`${line}\n`),
  });
  return EXIT.ok;
};
