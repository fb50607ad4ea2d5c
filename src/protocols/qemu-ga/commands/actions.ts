/** How what became of an action is told to the host: qemu-ga's wording for the helper programs it runs (spec section 5). */
import { ActionRefused } from '../../../guest/actions.ts';
import type { ProgramResult } from '../../../guest/program.ts';
import type { NativeAddon } from '../../../native/index.ts';
import { QapiError } from '../errors.ts';

/** Runs an action; a refusal becomes an error reply. */
export async function performed<T>(action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw error instanceof ActionRefused ? new QapiError(error.message) : error;
  }
}

/**
 * @param action what the program was to do, as in `child process has failed to shutdown`.
 * @throws {QapiError} unless the program exited with 0.
 */
export function requireSuccess(result: ProgramResult, action: string, native: NativeAddon): void {
  switch (result.kind) {
    case 'exited': {
      if (result.code === 0) return;
      const output = result.output.toString().trimEnd();
      throw new QapiError(
        `child process has failed to ${action}: ${output === '' ? `exit status ${result.code}` : output}`,
      );
    }
    case 'signaled': {
      const output = result.output.toString().trimEnd();
      throw new QapiError(`child process has terminated abnormally${output === '' ? '' : `: ${output}`}`);
    }
    case 'not-started':
      throw new QapiError(
        `child process has failed to ${action}: failed to exec '${result.program}': ${native.errorText(result.errno)}`,
      );
  }
}
