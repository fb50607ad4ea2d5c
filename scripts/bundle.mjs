// Bundles the command line and the daemon into dist/, apart, so that `chr-agent status` does not load the daemon.
// CommonJS, since an import of node:fs as a module also loads what nobody needs at the start (10 ms).
import { readFileSync } from 'node:fs';
import { build } from 'esbuild';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

/** What is loaded on demand, from a file of its own. */
const apart = {
  './daemon-commands.ts': './daemon.cjs',
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
  entryPoints: {
    'chr-agent': 'src/agent/entry.ts',
    main: 'src/agent/main.ts',
    daemon: 'src/agent/daemon-commands.ts',
    msgpackr: 'msgpackr/pack',
    protobuf: 'protobufjs/minimal.js',
  },
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
  plugins: [loadedApart],
  logLevel: 'warning',
});
