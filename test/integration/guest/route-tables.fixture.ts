/** The routes of this process' network namespace as JSON on stdout. */
import { routingTables } from '../../../src/guest/routes.ts';

process.stdout.write(JSON.stringify(await routingTables()));
