import { defineConfig } from 'vitest/config';

/** The suites by folder: `vitest run --project unit` and so on. */
const project = (name: string, timeoutMs: number, parallel: boolean) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
    fileParallelism: parallel,
    // real processes and file systems on whatever machine CI has: one more try tells a slow moment from a bug
    retry: process.env.CI !== undefined && name === 'integration' ? 1 : 0,
    // whatever a test starts must not touch the machine it runs on (src/guest/actions)
    env: { CHR_AGENT_NO_ACTIONS: '1' },
  },
});

export default defineConfig({
  test: {
    projects: [
      project('unit', 20_000, true),
      project('integration', 60_000, false),
      project('e2e', 1_200_000, false),
    ],
    reporters: ['default', './test/closing-line-reporter.ts'],
  },
});
