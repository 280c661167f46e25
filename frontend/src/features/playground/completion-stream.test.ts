import { describe, expect, it } from 'vitest';
import { readCompletion, StreamFailure, type Delta } from './completion-stream';

const encoder = new TextEncoder();

function bodyOf(...pieces: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(typeof piece === 'string' ? encoder.encode(piece) : piece);
      controller.close();
    },
  });
}

function chunk(content: string, finishReason: string | null = null): string {
  return `data: ${JSON.stringify({ choices: [{ delta: { content }, finish_reason: finishReason }] })}\n\n`;
}

async function read(body: ReadableStream<Uint8Array>): Promise<Delta[]> {
  const deltas: Delta[] = [];
  for await (const delta of readCompletion(body)) deltas.push(delta);
  return deltas;
}

async function textOf(body: ReadableStream<Uint8Array>): Promise<string> {
  return (await read(body)).map(({ text }) => text).join('');
}

describe('readCompletion', () => {
  it('joins an answer however the network cuts it, even inside a character', async () => {
    const bytes = encoder.encode(chunk('拱廊') + chunk(' é') + chunk('!', 'stop') + 'data: [DONE]\n\n');
    for (const size of [1, 2, 3, 7, 50]) {
      const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
        bytes.slice(index * size, (index + 1) * size),
      );
      expect(await textOf(bodyOf(...pieces))).toBe('拱廊 é!');
    }
  });

  it('yields several events of one piece each for itself, and ignores comments', async () => {
    const deltas = await read(bodyOf(`: ping\n\n${chunk('a')}${chunk('b', 'length')}data: [DONE]\n\n`));
    expect(deltas).toEqual([
      { text: 'a', finishReason: null, completionTokens: null },
      { text: 'b', finishReason: 'length', completionTokens: null },
    ]);
  });

  it('reports the tokens that the engine counted', async () => {
    const usage = 'data: {"choices":[],"usage":{"completion_tokens":12}}\n\n';
    expect(await read(bodyOf(chunk('x'), usage, 'data: [DONE]\n\n'))).toContainEqual({
      text: '',
      finishReason: null,
      completionTokens: 12,
    });
  });

  it('reads completions without chat, too', async () => {
    expect(await textOf(bodyOf('data: {"choices":[{"text":"once"}]}\n\n'))).toBe('once');
  });

  it('reads nothing after the end mark', async () => {
    expect(await textOf(bodyOf(chunk('a'), 'data: [DONE]\n\n', chunk('b')))).toBe('a');
  });

  it('fails with the words of an error inside the stream', async () => {
    const body = bodyOf(chunk('a'), 'data: {"error":{"message":"The engine ended."}}\n\n');
    await expect(read(body)).rejects.toThrow(new StreamFailure('The engine ended.'));
  });

  it('fails for an event that is not JSON', async () => {
    await expect(read(bodyOf('data: {"choices":\n\n'))).rejects.toThrow(StreamFailure);
  });

  it('lets go of the connection when the reader stops early', async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(encoder.encode(chunk('a'))),
      cancel: () => {
        cancelled = true;
      },
    });
    for await (const delta of readCompletion(body)) {
      expect(delta.text).toBe('a');
      break;
    }
    expect(cancelled).toBe(true);
  });
});
