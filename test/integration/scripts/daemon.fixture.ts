/**
 * A daemon for the tests to kill: runs the script text of its second argument with the state of the first, tells the pids on
 * stdout, and waits.
 */
import { createJobs } from '../../../src/scripts/jobs.ts';
import { engineOptions, textRequest } from './engine.ts';

const [directory = '', ...texts] = process.argv.slice(2);
const engine = createJobs(engineOptions(directory));
const jobs = await Promise.all(texts.map((text) => engine.start(textRequest(text, 0))));
process.stdout.write(`${JSON.stringify(jobs.map(({ pid }) => pid))}\n`);
setInterval(() => undefined, 1000);
