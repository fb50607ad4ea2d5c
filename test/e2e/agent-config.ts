/** The agent.toml of the agent in the guest. */

export interface AgentSettings {
  readonly logLevel?: 'info' | 'debug';
  /** Without it the agent's default, ten minutes. */
  readonly freezeTimeLimitS?: number;
  readonly compat?: 'chr' | 'upstream';
  readonly scriptTimeLimitS?: number;
}

/** Of scripts, short for the test of it. */
export const SCRIPT_TIME_LIMIT_S = 10;

export function agentConfig({
  logLevel,
  freezeTimeLimitS,
  compat,
  scriptTimeLimitS,
}: AgentSettings = {}): string {
  const limit = freezeTimeLimitS === undefined ? '' : `\n[freeze]\ntime-limit = ${freezeTimeLimitS}\n`;
  return `[agent]
log-level = "${logLevel ?? 'info'}"

[qemu-ga]
compat = "${compat ?? 'chr'}"

[scripts]
time-limit = ${scriptTimeLimitS ?? SCRIPT_TIME_LIMIT_S}
grace = 1
${limit}`;
}
