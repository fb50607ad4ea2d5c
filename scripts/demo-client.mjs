// A host in 60 lines: speaks the QEMU guest agent protocol on a unix socket.
//   demo-client.mjs SOCKET                runs a small script and prints what went over the wire
//   demo-client.mjs SOCKET SCRIPT         runs this script
//   demo-client.mjs SOCKET '{"execute"…'  sends this one request
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const TIME_LIMIT_MS = 150_000;
const SCRIPT = `echo "hello from $(uname -sr)"
date -u
ls /nonexistent; true
`;

const [socketPath, words = SCRIPT] = process.argv.slice(2);
if (socketPath === undefined) {
  console.error('usage: demo-client.mjs SOCKET [SCRIPT | REQUEST]');
  process.exit(2);
}

const socket = connect(socketPath);
socket.on('error', (error) => {
  console.error(`demo-client: ${error.message}`);
  process.exit(1);
});
const deadline = setTimeout(() => {
  console.error('demo-client: no answer');
  process.exit(1);
}, TIME_LIMIT_MS);
const replies = createInterface({ input: socket })[Symbol.asyncIterator]();

async function request(text) {
  console.log(`> ${text}`);
  socket.write(`${text}\n`);
  const { value, done } = await replies.next();
  if (done) throw new Error('the agent closed the connection');
  console.log(`< ${value}`);
  const reply = JSON.parse(value);
  if (reply.error) throw new Error(reply.error.desc);
  return reply.return;
}

async function runScript(script) {
  console.log(script.trimEnd().replace(/^/gm, '| '));
  const { pid } = await request(
    JSON.stringify({
      execute: 'guest-exec',
      arguments: { 'input-data': Buffer.from(script).toString('base64'), 'capture-output': true },
    }),
  );
  for (;;) {
    await delay(200);
    const status = await request(JSON.stringify({ execute: 'guest-exec-status', arguments: { pid } }));
    if (!status.exited) continue;
    // the CHR's convention: 0 success, -1 the script failed, 1 it ran out of time
    console.log(`exit code ${status.exitcode}, output:`);
    const output = Buffer.from(status['out-data'] ?? '', 'base64').toString();
    console.log(output.trimEnd().replace(/^/gm, '| '));
    return;
  }
}

try {
  if (words.startsWith('{')) await request(words);
  else await runScript(words);
} catch (error) {
  console.error(`demo-client: ${error.message}`);
  process.exitCode = 1;
}
clearTimeout(deadline);
socket.destroy();
