/** Framing in pieces: how the bytes are cut never matters (the values themselves are compared with qemu-ga's elsewhere). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { native } from '../../../src/native/index.ts';
import { Framing, type Message } from '../../../src/protocols/qemu-ga/json/framing.ts';
import { READ_BYTES, ReceiveBuffer } from '../../../src/protocols/qemu-ga/json/receive-buffer.ts';
import { isObject, LongText } from '../../../src/protocols/qemu-ga/json/value.ts';

function createFraming() {
  const buffer = new ReceiveBuffer(native);
  const framing = new Framing(buffer, native);
  return {
    buffer,
    /** Feeds bytes as reads would and gives what is whole by then. */
    feed(bytes: Buffer): unknown[] {
      const messages: unknown[] = [];
      for (let at = 0; at < bytes.length; at += READ_BYTES) {
        buffer.makeRoom();
        const piece = bytes.subarray(at, at + READ_BYTES);
        piece.copy(buffer.bytes, buffer.end);
        buffer.received(piece.length);
        for (let message = framing.next(); message !== undefined; message = framing.next()) {
          messages.push(plain(message));
          framing.release();
        }
      }
      return messages;
    },
  };
}

/** A copy without references into the receive buffer. */
function plain(message: Message): unknown {
  return JSON.parse(
    JSON.stringify(message, (_key, value) => {
      if (value instanceof LongText) return `long ${value.toString()}`;
      if (value instanceof Map) return { members: [...value] };
      return typeof value === 'bigint' ? `integer ${value}` : value;
    }),
  );
}

describe('messages in pieces', () => {
  const samples = [
    '{"execute": "guest-ping", "id": [1, -2.5e3, true, null, "\\u00e9\\n", \'x\']}\n',
    'Xx{"a":"open\n{"b":1}\xff',
    `{"long":"${'QUJD'.repeat(300)}","n":9223372036854775807}`,
    `{"long":"${'A'.repeat(600)}\\n${'B'.repeat(600)}"}`,
    '[[[]],{}]{"a":1,"a":2}12 "text" abc ',
  ];

  it('cut anywhere give the same messages', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...samples), { minLength: 1, maxLength: 4 }),
        fc.array(fc.nat(2000), { maxLength: 12 }),
        (texts, cuts) => {
          const bytes = Buffer.from(texts.join(''), 'latin1');
          const whole = createFraming().feed(bytes);
          const inPieces = createFraming();
          const messages: unknown[] = [];
          const places = [...cuts.filter((cut) => cut < bytes.length), bytes.length].sort((a, b) => a - b);
          let from = 0;
          for (const place of places) {
            messages.push(...inPieces.feed(bytes.subarray(from, place)));
            from = place;
          }
          expect(messages).toEqual(whole);
        },
      ),
    );
  });

  it('byte by byte too', () => {
    const bytes = Buffer.from(samples.join(' '), 'latin1');
    const single = createFraming();
    const messages = [...bytes].flatMap((byte) => single.feed(Buffer.of(byte)));
    expect(messages).toEqual(createFraming().feed(bytes));
  });
});

describe('the receive buffer', () => {
  it('takes any amount of white space around and inside a message with long strings', () => {
    const framing = createFraming();
    const text = 'QUJD'.repeat(400);
    const space = Buffer.alloc(8 * 1024 * 1024, ' ');
    const messages: unknown[] = [];
    messages.push(...framing.feed(Buffer.from(`{"a": "${text}",`)));
    for (let filled = 0; filled < 80 * 1024 * 1024; filled += space.length)
      messages.push(...framing.feed(space));
    messages.push(...framing.feed(Buffer.from(`"b": "${text}x"}`)));
    expect(messages).toEqual([
      {
        kind: 'value',
        value: {
          members: [
            ['a', `long ${text}`],
            ['b', `long ${text}x`],
          ],
        },
      },
    ]);
  });

  it('starts at the front again after each message, so that it touches few pages', () => {
    const framing = createFraming();
    for (let round = 0; round < 1000; round += 1) framing.feed(Buffer.from('{"execute":"guest-ping"}\n'));
    expect(framing.buffer.end).toBeLessThan(4096);
  });

  it('gives pages back after a large message, and the next message is read right', () => {
    const framing = createFraming();
    const large = Buffer.from(`{"a":"${'A'.repeat(3 * 1024 * 1024)}"}{"b":`);
    expect(framing.feed(large)).toHaveLength(1);
    framing.buffer.makeRoom();
    expect(framing.buffer.trim()).toBe(true);
    expect(framing.buffer.trim()).toBe(false);
    expect(framing.feed(Buffer.from('1}'))).toEqual([
      { kind: 'value', value: { members: [['b', 'integer 1']] } },
    ]);
  });
});

describe('long strings', () => {
  it('stay in the buffer when they are plain, and tell whether they are base64', () => {
    const buffer = new ReceiveBuffer(native);
    const framing = new Framing(buffer, native);
    const bytes = Buffer.from(`{"x":"${'QUJD'.repeat(200)}","y":"${'Q_JD'.repeat(200)}","z":"short"}`);
    bytes.copy(buffer.bytes);
    buffer.received(bytes.length);
    const message = framing.next();
    if (message?.kind !== 'value' || !isObject(message.value)) throw new Error('no object');
    expect(message.value.get('x')).toMatchObject({ isBase64: true });
    expect(message.value.get('y')).toMatchObject({ isBase64: false });
    expect(message.value.get('z')).toBe('short');
  });
});
