/**
 * Environment for the programs that tests start from source: Node.js keeps what it has compiled, which is most of such a
 * program's start. Not for one that may meet a frozen file system: Node.js makes the directory at each start.
 */
export const COMPILE_CACHE = {
  NODE_COMPILE_CACHE: new URL('../../build/compile-cache', import.meta.url).pathname,
} as const;
