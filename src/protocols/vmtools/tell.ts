/** Telling the host things that are not worth an error when it does not want them, or is not there. */
import type { Log } from '../../log.ts';
import { RpcRefused } from './channel-errors.ts';
import type { Rpci, RpcOptions } from './rpc.ts';

/** Never rejects. @returns `refused`: the host does not want it; `lost`: it is not known whether the host has heard it */
export type Tell = (request: string | Buffer, options?: RpcOptions) => Promise<'told' | 'refused' | 'lost'>;

/** What a message is about, for the log. */
const SHOWN_CHARACTERS = 60;

export function createTell(rpci: Rpci, log: Log): Tell {
  return async (request, options) => {
    try {
      await rpci.request(request, options);
      return 'told';
    } catch (error) {
      const what = JSON.stringify(request.toString('latin1', 0, SHOWN_CHARACTERS).slice(0, SHOWN_CHARACTERS));
      if (error instanceof RpcRefused) {
        log.debug(`the host refuses ${what}: ${error.message}`);
        return 'refused';
      }
      log.warning(
        `the host cannot be told ${what}: ${error instanceof Error ? error.message : String(error)}`,
      );
      return 'lost';
    }
  };
}
