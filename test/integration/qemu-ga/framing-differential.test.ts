/** Our framing against the real qemu-ga: the same bytes to both, the same replies (spec qemu-ga.md section 2). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import { protocolCommands } from '../../../src/protocols/qemu-ga/commands/protocol.ts';
import { createRegistry } from '../../../src/protocols/qemu-ga/registry.ts';
import { createSession } from '../../../src/protocols/qemu-ga/session.ts';
import { runEndpoint } from '../../../src/protocols/transport/endpoint.ts';
import { LineClient } from '../../support/line-client.ts';
import { recordingLog } from '../../support/quiet-log.ts';
import { type ReferenceAgent, referenceMissing, startReferenceAgent } from '../../support/reference-agent.ts';

const missing = referenceMissing();
if (missing !== undefined && process.env.CI === undefined) console.log(`skipped: ${missing}`);

/** JSON.parse's third argument, which TypeScript's library does not know yet. */
function numbersAsText(this: unknown, _key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === 'number' ? `number ${context?.source}` : value;
}

describe.skipIf(missing !== undefined && process.env.CI === undefined)(
  'the same bytes to qemu-ga and to us',
  () => {
    const directory = mkdtempSync(join(tmpdir(), 'qga-ours-'));
    const stop = new AbortController();
    let reference: ReferenceAgent;
    let theirs: LineClient;
    let ours: LineClient;
    let marker = 1_000_000;

    beforeAll(async () => {
      reference = await startReferenceAgent();
      theirs = new LineClient(reference.socketPath);
      const [sync, , ping] = [protocolCommands[1], undefined, protocolCommands[2]];
      if (sync === undefined || ping === undefined) throw new Error('commands are missing');
      const registry = createRegistry([sync, ping], { allowed: [], blocked: [], isFrozen: () => false });
      const session = createSession({
        native,
        log: recordingLog(),
        registry,
        context: undefined as never,
        releaseMemory: () => undefined,
      });
      const path = join(directory, 'ours.sock');
      void runEndpoint(
        { method: 'unix-listen', path },
        {
          native,
          log: recordingLog(),
          signal: stop.signal,
          serve: (channel) => session.serve(channel),
          onState: () => undefined,
        },
      );
      ours = new LineClient(path);
    });
    afterAll(async () => {
      ours.close();
      theirs.close();
      stop.abort();
      await reference.stop();
      rmSync(directory, { recursive: true });
    });

    /** Each reply parsed (the order of members is free), numbers left as text since they may be beyond doubles. */
    async function replies(client: LineClient, bytes: Uint8Array, end: number): Promise<unknown[]> {
      client.send(bytes);
      client.send(
        Buffer.concat([Buffer.of(0xff), Buffer.from(`{"execute":"guest-sync","arguments":{"id":${end}}}\n`)]),
      );
      const text = (await client.readThrough(`{"return": ${end}}`)).toString('latin1');
      return text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line, numbersAsText));
    }

    async function compare(bytes: Uint8Array): Promise<void> {
      marker += 1;
      const [expected, actual] = [await replies(theirs, bytes, marker), await replies(ours, bytes, marker)];
      expect(actual, JSON.stringify(Buffer.from(bytes).toString('latin1'))).toEqual(expected);
    }

    it.each([
      '{"execute":"guest-ping"}{"execute":"guest-ping","id":1}',
      '{"execute":"guest-sync","arguments":{"id":9223372036854775807}}',
      '{"execute":"guest-sync","arguments":{"id":9007199254740993},"id":"x"}',
      '{"execute":"guest-ping","id":[18446744073709551615,18446744073709551616,-9223372036854775809,1e3,-0,0.1,1.5e300,-1E-7,123456789012345678901234567890,0.0001,0.00001,1e16,1e17,5e-324]}',
      "{'execute':'guest-ping','id':'it\\'s \"q\"'}",
      'null true false nul 12 -5 1.5 "text" [] [1,2] {} {"a":1}',
      'Xxx{"execute":"guest-ping"} abc{"execute":"guest-ping"}',
      '{"execute":"guest-ping",}{"execute" "guest-ping"}{"execute":}{1:2}{"a":1,"a":2}[1 2][,][1,]{"a":1 "b":2}{[1]:2}',
      '{"execute":"guest-ping","id":"\\u00e9\\ud83d\\ude00\\u0000\\/\\b\\f\\n\\r\\t\\u007f"}',
      '{"a":"\\ud83d"}{"a":"\\ud83dx"}{"a":"\\ud83d\\u0041"}{"a":"\\uFFFE"}{"a":"\\uFDD0"}{"a":"\\u12"}{"a":"\\u12G4"}{"a":"\\x"}',
      '{"execute":"guest-ping","id":"tab\there"}\n{"execute":"guest-ping"}',
      '{"execute":"guest-ping"\n"id":"open\nxx}',
      '[01][1.][.5][+1][1e][1e+][-][--1][-a][0x1][1a][1.5.5][00]',
      '}{]:,[}[}{]',
      '{"execute":"guest-nope"}{"execute":1}{"arguments":1,"execute":"guest-ping"}{"execute":"guest-ping","arguments":null}{"execute":"guest-ping","more":1}{"exec-oob":"guest-ping"}5 "x"',
      '{"execute":"guest-sync"}{"execute":"guest-sync","arguments":{"id":1.0}}{"execute":"guest-sync","arguments":{"id":"1"}}{"execute":"guest-sync","arguments":{"id":9223372036854775808}}{"execute":"guest-sync","arguments":{"id":1,"x":2}}',
      `${'['.repeat(1024)}${']'.repeat(1024)}`,
      `${'['.repeat(1025)}${']'.repeat(1025)}`,
      `{"execute":"guest-ping","id":"${'A'.repeat(5000)}"}{"execute":"guest-ping","id":"${'é'.repeat(3000)}"}`,
      `${'a'.repeat(2000)} `,
      '%s {"a":%d} /* c */ // d\n# NaN Infinity',
    ])('%s', (text) => compare(Buffer.from(text)));

    it.each([
      [0xff],
      [0xfe, 0xff, 0x00, 0x01, 0x0b, 0x0c],
      [0xef, 0xbb, 0xbf, ...Buffer.from('{"execute":"guest-ping"}')],
      [...Buffer.from('{"execute":"gue'), 0xff, ...Buffer.from('{"execute":"guest-ping"}')],
      [...Buffer.from('{"id":"'), 0x00, ...Buffer.from('x"}')],
      [...Buffer.from('{"id":"\x7f'), 0xc0, 0x80, 0xc3, 0xa9, ...Buffer.from('","execute":"guest-ping"}')],
      ...[
        [0x80],
        [0xc1, 0x81],
        [0xe0, 0x80, 0x80],
        [0xed, 0xa0, 0x80],
        [0xef, 0xbf, 0xbe],
        [0xf4, 0x90, 0x80, 0x80],
        [0xf8, 0x88, 0x80, 0x80, 0x80],
        [0xc3],
        [0xc3, 0x41],
      ].map((bad) => [...Buffer.from('{"id":"'), ...bad, ...Buffer.from('"} "'), ...bad, 0x01]),
    ])('bytes %j', (...bytes) => compare(Buffer.from(bytes)));

    it('any soup of tokens and bytes', async () => {
      const piece = fc.oneof(
        { weight: 12, arbitrary: fc.constantFrom(...'{}[]:,"\'\\ \n\t0123456789.eE+-abnu'.split('')) },
        {
          weight: 6,
          arbitrary: fc.constantFrom(
            '"execute":"guest-ping"',
            '{"execute":"guest-ping"}',
            '{"execute":"guest-sync","arguments":{"id":7}}',
            '"id":',
            '"id":"x"',
            'true',
            'null',
            '\\u00e9',
            '\\ud83d\\ude00',
            '\\n',
            '{"a":',
            '[1,',
            '1e5',
            '-0.25',
          ),
        },
        {
          weight: 1,
          arbitrary: fc.constantFrom(
            '\xff',
            '\xfe',
            '\0',
            '\x01',
            '\x80',
            '\xc3\xa9',
            '\xe2\x82\xac',
            '\xc0\x80',
          ),
        },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(piece, { maxLength: 40 }), (pieces) =>
          compare(Buffer.from(pieces.join(''), 'latin1')),
        ),
        { numRuns: process.env.CHR_AGENT_LONG ? 20_000 : 1_500 },
      );
    });

    it('limits: the size of tokens', async () => {
      const big = 64 * 1024 * 1024;
      await compare(
        Buffer.from(`{"execute":"guest-ping","id":"${'A'.repeat(big)}"}\n{"execute":"guest-ping"}`),
      );
      await compare(Buffer.from(`{"execute":"guest-ping","id":"${'A'.repeat(1024 * 1024)}"}`));
    });

    it('limits: the number of tokens', async () => {
      await compare(Buffer.from(`[${'1,'.repeat(1024 * 1024)}1]`));
    });
  },
);
