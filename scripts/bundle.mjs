// Bundles the command line and the daemon into dist/, apart, so that `chr-agent status` does not load the daemon, nor a daemon
// the protocols of other hypervisors.
// CommonJS, since an import of node:fs as a module also loads what nobody needs at the start (10 ms).
import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

const options = {
  outdir: 'dist',
  outExtension: { '.js': '.cjs' },
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  supported: { 'dynamic-import': false }, // require() instead: the loader for modules would have to start first
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: 'none',
  define: {
    __VERSION__: JSON.stringify(version),
    'import.meta.dirname': '__dirname',
    'import.meta.filename': '__filename',
  },
  logLevel: 'warning',
};

/** What is loaded on demand, from a file of its own. */
const apart = {
  './daemon-commands.ts': './daemon.cjs',
  './install-commands.ts': './install.cjs',
  './console-commands.ts': './console.cjs',
  '../protocols/vmtools/service.ts': './vmtools.cjs',
  '../protocols/xenstore/service.ts': './xenstore.cjs',
  'msgpackr/pack': './msgpackr.cjs',
  'protobufjs/minimal.js': './protobuf.cjs',
};

const loadedApart = {
  name: 'loaded-apart',
  setup({ onResolve }) {
    onResolve({ filter: /./ }, ({ path, kind }) =>
      kind === 'dynamic-import' && path in apart ? { path: apart[path], external: true } : undefined,
    );
  },
};

await build({
  ...options,
  entryPoints: {
    'chr-agent': 'src/agent/entry.ts',
    main: 'src/agent/main.ts',
    console: 'src/agent/console-commands.ts',
    install: 'src/agent/install-commands.ts',
    msgpackr: 'msgpackr/pack',
    protobuf: 'protobufjs/minimal.js',
  },
  plugins: [loadedApart],
});

// The daemon, and the protocols that not every daemon has. A module is in one of them only, since two copies of an error's class
// are two classes: what a protocol has in common with the daemon it finds in `shared`.
const DAEMON = 'src/agent/daemon-commands.ts';
const { metafile } = await build({
  ...options,
  entryPoints: { daemon: DAEMON },
  plugins: [loadedApart],
  metafile: true,
  write: false,
});
const inDaemon = new Set(Object.keys(metafile.inputs));
const shared = new Set();
const fromDaemon = {
  name: 'from-daemon',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\.\.?\// }, ({ path, resolveDir, kind }) => {
      if (kind === 'entry-point') return undefined;
      if (path === './daemon.cjs') return { path, external: true };
      const file = relative('.', resolve(resolveDir, path));
      return inDaemon.has(file) ? { path: file, namespace: 'from-daemon' } : undefined;
    });
    onLoad({ filter: /./, namespace: 'from-daemon' }, ({ path }) => {
      shared.add(path);
      return {
        contents: `module.exports = require('./daemon.cjs').shared[${JSON.stringify(path)}];`,
        resolveDir: '.',
      };
    });
  },
};
await build({
  ...options,
  entryPoints: { vmtools: 'src/protocols/vmtools/service.ts', xenstore: 'src/protocols/xenstore/service.ts' },
  plugins: [fromDaemon, loadedApart],
});

// the daemon again, now with what is shared
const files = [...shared].sort();
await build({
  ...options,
  stdin: {
    contents: [
      `export * from './${DAEMON}';`,
      ...files.map((file, index) => `import * as m${index} from './${file}';`),
      `export const shared = { ${files.map((file, index) => `${JSON.stringify(file)}: m${index}`).join(', ')} };`,
    ].join('\n'),
    resolveDir: '.',
    sourcefile: 'daemon.js',
  },
  outdir: undefined,
  outfile: 'dist/daemon.cjs',
  plugins: [loadedApart],
});
