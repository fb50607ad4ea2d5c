/** Scripts that the test ends itself, for what sits on {@link Jobs}. */
import {
  type Job,
  type JobOutcome,
  type JobRequest,
  JobStartError,
  type Jobs,
} from '../../src/scripts/job.ts';

export interface FakeJobs extends Jobs {
  /** The texts that were started, in order. */
  readonly texts: string[];
  readonly requests: JobRequest[];
  /** Ends the script that runs. */
  end(outcome?: JobOutcome, output?: string | Buffer): void;
  /** Scripts end as soon as they run, with this output; null: by {@link end}. */
  instantOutput: string | null;
  refusal: JobStartError | null;
  readonly forgotten: number;
}

export function fakeJobs(): FakeJobs {
  const requests: JobRequest[] = [];
  let running: ((outcome: JobOutcome, output: Buffer) => void) | null = null;
  let forgotten = 0;
  const self: FakeJobs = {
    requests,
    instantOutput: null,
    refusal: null,
    get texts() {
      return requests.map(({ source }) => (source.kind === 'text' ? source.text.toString() : source.path));
    },
    get forgotten() {
      return forgotten;
    },
    async start(request) {
      if (self.refusal !== null) throw self.refusal;
      requests.push(request);
      const { promise, resolve } = Promise.withResolvers<JobOutcome>();
      let bytes = Buffer.alloc(0);
      const job: Job = {
        pid: requests.length,
        origin: request.origin,
        startedAtMs: 0,
        note: request.note ?? null,
        status: { state: 'running' },
        output: {
          get sizeBytes() {
            return bytes.length;
          },
          truncated: false,
          read: async (target, start, end, position) =>
            bytes.copy(target, start, position, position + end - start),
        },
        finished: promise,
        kill: async () => undefined,
      };
      running = (outcome, output) => {
        bytes = Buffer.from(output);
        running = null;
        resolve(outcome);
      };
      if (self.instantOutput !== null) running({ kind: 'success' }, Buffer.from(self.instantOutput));
      return job;
    },
    end(outcome = { kind: 'success' }, output = '') {
      if (running === null) throw new Error('no script runs');
      running(outcome, Buffer.from(output));
    },
    get: () => undefined,
    releaseOutput: () => undefined,
    forget: () => {
      forgotten += 1;
    },
    list: () => [],
    drain: async () => undefined,
  };
  return self;
}

export const startError = (text: string): JobStartError => new JobStartError(11, text);
