/** Questions on the console: lines, and secrets without echo. Works on pipes too, for scripts. */

/** What is used of `process.stdin`; tests have their own. */
export interface InputStream extends NodeJS.ReadableStream {
  readonly isTTY?: boolean;
  setRawMode?(isRaw: boolean): unknown;
}

export interface ConsoleInput {
  /** The next line without its end; null at the end of the input. A terminal is shown the prompt. */
  line(prompt: string): Promise<string | null>;
  /** As {@link ConsoleInput.line}, not echoed on a terminal and never a string. The caller wipes it. */
  secret(prompt: string): Promise<Uint8Array | null>;
  /** Leaves the stream alone. */
  close(): void;
}

export class InputTooLongError extends Error {
  override name = 'InputTooLongError';
}

const MAX_LINE_BYTES = 1024;
const CTRL_C = 3;
const CTRL_D = 4;
const BACKSPACE = 8;
const NEWLINE = 10;
const RETURN = 13;
const CTRL_U = 21;
const ESCAPE = 27;
const DELETE = 127;

/**
 * @param print shows a prompt
 * @param interrupt what Ctrl-C does while there is no echo: the terminal sends no signal then
 */
export function openConsoleInput(
  stream: InputStream,
  print: (text: string) => void,
  interrupt: () => void,
): ConsoleInput {
  const isTerminal = stream.isTTY === true && stream.setRawMode !== undefined;
  let pieces: Buffer[] = [];
  let isEnded = false;
  let wake = () => {};

  const onData = (piece: Buffer | string) => {
    pieces.push(typeof piece === 'string' ? Buffer.from(piece) : piece);
    wake();
  };
  const onEnd = () => {
    isEnded = true;
    wake();
  };
  stream.on('data', onData).on('end', onEnd).on('error', onEnd);

  /** The next byte, wiped where it was; null at the end. */
  async function nextByte(): Promise<number | null> {
    for (;;) {
      const [piece] = pieces;
      const byte = piece?.[0];
      if (piece !== undefined && byte !== undefined) {
        piece[0] = 0;
        pieces[0] = piece.subarray(1);
        return byte;
      }
      if (piece !== undefined) pieces.shift();
      else if (isEnded) return null;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  }

  /** @returns null if the input ended without a byte */
  async function readLine(edit: (line: LineBuffer, byte: number) => void): Promise<Uint8Array | null> {
    const line = new LineBuffer();
    for (;;) {
      const byte = await nextByte();
      if (byte === null) return line.isEmpty ? null : line.take();
      if (byte === NEWLINE) return line.take();
      edit(line, byte);
      // a raw terminal ends lines so
      if (byte === RETURN && isTerminal) return line.take();
    }
  }

  async function secret(prompt: string): Promise<Uint8Array | null> {
    if (!isTerminal) return readLine(appendByte);
    // the prompt comes after: whoever waits for it may type
    stream.setRawMode?.(true);
    print(prompt);
    try {
      return await readLine(rawEditor(interrupt));
    } finally {
      stream.setRawMode?.(false);
      // the end of the line was not echoed either
      print('\n');
    }
  }

  return {
    async line(prompt) {
      if (isTerminal) print(prompt);
      const bytes = await readLine(appendByte);
      return bytes === null ? null : Buffer.from(bytes).toString('utf8');
    },
    secret,
    close() {
      stream.off('data', onData).off('end', onEnd).off('error', onEnd);
      stream.pause();
      for (const piece of pieces) piece.fill(0);
      pieces = [];
    },
  };
}

function appendByte(line: LineBuffer, byte: number): void {
  if (byte !== RETURN) line.append(byte);
}

/** The little editing that a terminal's own line discipline gives when there is an echo. */
function rawEditor(interrupt: () => void): (line: LineBuffer, byte: number) => void {
  /** Within an escape sequence, as a cursor key sends it. */
  let isEscaped = false;
  return (line, byte) => {
    if (isEscaped) {
      const isIntroducer = byte === 0x5b || byte === 0x4f; // [ O
      isEscaped = isIntroducer || byte < 0x40;
    } else if (byte === ESCAPE) isEscaped = true;
    else if (byte === CTRL_C) interrupt();
    else if (byte === CTRL_U) line.clear();
    else if (byte === BACKSPACE || byte === DELETE) line.dropLast();
    else if (byte >= 0x20 && byte !== CTRL_D) line.append(byte);
  };
}

/** One buffer, so that nothing is left behind when it grows. */
class LineBuffer {
  readonly #bytes = Buffer.alloc(MAX_LINE_BYTES);
  #length = 0;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  append(byte: number): void {
    if (this.#length === MAX_LINE_BYTES) throw new InputTooLongError(`more than ${MAX_LINE_BYTES} bytes`);
    this.#bytes[this.#length] = byte;
    this.#length += 1;
  }

  /** A whole character of UTF-8. */
  dropLast(): void {
    while (this.#length > 0) {
      this.#length -= 1;
      const byte = this.#bytes[this.#length] ?? 0;
      this.#bytes[this.#length] = 0;
      if ((byte & 0xc0) !== 0x80) return;
    }
  }

  clear(): void {
    this.#bytes.fill(0);
    this.#length = 0;
  }

  take(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}
