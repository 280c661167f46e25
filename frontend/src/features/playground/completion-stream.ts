import { createParser } from 'eventsource-parser';

/** What one chunk of a streamed answer tells. */
export interface Delta {
  text: string;
  finishReason: string | null;
  /** Tokens generated so far, where the engine counts them. */
  completionTokens: number | null;
}

/** The stream ended with an error that the engine or the gateway put into it. */
export class StreamFailure extends Error {
  override readonly name = 'StreamFailure';
}

/**
 * Reads the server-sent events of an OpenAI-style completion, however the network cuts them into pieces.
 * Ends at `[DONE]` or with the body. Throws StreamFailure for an error inside the stream.
 */
export async function* readCompletion(body: ReadableStream<Uint8Array>): AsyncGenerator<Delta> {
  const waiting: string[] = [];
  const parser = createParser({ onEvent: ({ data }) => void waiting.push(data) });
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(value);
      for (const data of waiting.splice(0)) {
        if (data === '[DONE]') return;
        yield readChunk(data);
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

interface Chunk {
  error?: { message?: string } | string;
  choices?: { delta?: { content?: string | null }; text?: string; finish_reason?: string | null }[];
  usage?: { completion_tokens?: number } | null;
}

function readChunk(data: string): Delta {
  let chunk: Chunk;
  try {
    chunk = JSON.parse(data) as Chunk;
  } catch {
    throw new StreamFailure('The answer broke off in the middle of a message.');
  }
  if (chunk.error !== undefined) {
    throw new StreamFailure(
      typeof chunk.error === 'string' ? chunk.error : (chunk.error.message ?? 'The engine reported an error.'),
    );
  }
  const choice = chunk.choices?.[0];
  return {
    text: choice?.delta?.content ?? choice?.text ?? '',
    finishReason: choice?.finish_reason ?? null,
    completionTokens: chunk.usage?.completion_tokens ?? null,
  };
}
