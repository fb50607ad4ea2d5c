/** Where the scripts of power operations come from: the administrator's hooks (`chr`), or the places of open-vm-tools (`upstream`). */
import { promises as fs } from 'node:fs';
import { join, resolve } from 'node:path';
import type { FreezeGate } from '../../guest/freeze-gate.ts';
import type { Hooks } from '../../scripts/hooks.ts';
import type { ScriptEngine } from '../../scripts/jobs.ts';
import type { PowerScripts, ScriptEnd, ScriptStart } from './power.ts';
import type { ToolsConfFile } from './tools-conf.ts';

/** The documented limit (spec chr-wiki.txt, power operations). */
const TIME_LIMIT_MS = 30_000;
/** open-vm-tools' own directory. */
export const TOOLS_DIRECTORY = '/etc/vmware-tools';

export function hookScripts(
  hooks: Pick<Hooks, 'isThere' | 'start'>,
  timeLimitMs = TIME_LIMIT_MS,
): PowerScripts {
  return {
    async find(event) {
      if (!(await hooks.isThere(event))) return null;
      return {
        async start() {
          const started = await hooks.start(event, { timeLimitMs });
          switch (started.kind) {
            case 'absent':
              // it was there a moment ago
              return { problem: 'it is gone' };
            case 'failed':
              return { problem: started.reason };
            case 'running':
              return { ended: started.ended.then(scriptEnd) };
          }
        },
      };
    },
  };
}

function scriptEnd(result: Awaited<ReturnType<Hooks['run']>>): ScriptEnd {
  if (result.kind !== 'failed') return { isSuccess: true, how: 'exit code: 0' };
  const how = result.reason
    .replace(/^exit status (?=\d+$)/, 'exit code: ')
    .replace(/^killed by signal (?=\d+$)/, 'canceled by signal: ');
  return { isSuccess: false, how };
}

export interface ToolsScriptsOptions {
  readonly programs: Pick<ScriptEngine, 'startProgram'>;
  readonly toolsConf: ToolsConfFile;
  readonly gate: FreezeGate;
  /** Of the relative paths in the configuration. */
  readonly directory?: string;
}

/** Without arguments and a time limit, their output goes nowhere (spec vmware.md section 9). */
export function toolsScripts(options: ToolsScriptsOptions): PowerScripts {
  const { programs, toolsConf, gate, directory = TOOLS_DIRECTORY } = options;
  return {
    async find(event) {
      const conf = await toolsConf.read();
      const configured = conf.text('powerops', `${event}-script`);
      if (configured === '') return null;
      const path = join(directory, `${event}-vm-default`);
      // open-vm-tools comes with those of the default, which an image without it lacks
      if (configured === undefined && !(await gate.pass(() => exists(path)))) return null;
      const program = configured === undefined ? path : resolve(directory, configured);
      return { start: () => startProgram(programs, program) };
    },
  };
}

async function startProgram(
  programs: Pick<ScriptEngine, 'startProgram'>,
  path: string,
): Promise<ScriptStart> {
  try {
    const program = await programs.startProgram({
      path,
      args: [],
      env: undefined,
      input: undefined,
      capture: 'none',
    });
    const ended = program.exited.then(() => {
      const { exitCode, signal } = program.exit() ?? { exitCode: -1, signal: 0 };
      program.release();
      const how = signal === 0 ? `exit code: ${exitCode}` : `canceled by signal: ${signal}`;
      return { isSuccess: exitCode === 0 && signal === 0, how };
    });
    return { ended };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

async function exists(path: string): Promise<boolean> {
  return fs.access(path).then(
    () => true,
    () => false,
  );
}
