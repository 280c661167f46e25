export interface Figures {
  /** Milliseconds from sending to the first token. */
  firstTokenMs: number | null;
  tokens: number;
  /** Tokens a second after the first one; null while there are too few to say. */
  tokensPerSecond: number | null;
}

export interface Failure {
  reason: string;
  remedy: string;
}

export interface Message {
  id: string;
  role: 'user' | 'assistant';
  text: string;
  state: 'complete' | 'streaming' | 'stopped' | 'failed';
  figures: Figures | null;
  /** `length` when the answer ended at the maximum length. */
  finishReason: string | null;
  failure: Failure | null;
}

/** What a request asks for; empty means the deployment's own default. */
export interface Sampling {
  system: string;
  temperature: number | '';
  maxTokens: number | '';
  topP: number | '';
  stop: string[];
}

export const NO_SAMPLING: Sampling = { system: '', temperature: '', maxTokens: '', topP: '', stop: [] };

/** The request's body: a chat, or for a model without a chat template the plain text to continue. */
export function requestBody(model: string, messages: readonly Message[], sampling: Sampling, chat: boolean): object {
  const system = sampling.system.trim();
  // Chat templates want turns: a question that was never answered is left out.
  const said = messages
    .filter(({ text, state }) => text !== '' && state !== 'failed')
    .filter(({ role }, index, all) => role !== 'user' || all[index + 1]?.role !== 'user');
  return {
    model,
    ...(chat
      ? {
          messages: [
            ...(system === '' ? [] : [{ role: 'system', content: system }]),
            ...said.map(({ role, text }) => ({ role, content: text })),
          ],
        }
      : { prompt: said.at(-1)?.text ?? '' }),
    stream: true,
    stream_options: { include_usage: true },
    ...(sampling.temperature !== '' && { temperature: sampling.temperature }),
    ...(sampling.maxTokens !== '' && { max_tokens: sampling.maxTokens }),
    ...(sampling.topP !== '' && { top_p: sampling.topP }),
    ...(sampling.stop.length > 0 && { stop: sampling.stop }),
  };
}

/** Speed of an answer from three moments (milliseconds) and the tokens so far. */
export function figures(sentAt: number, firstAt: number | null, now: number, tokens: number): Figures {
  const seconds = firstAt === null ? 0 : (now - firstAt) / 1000;
  return {
    firstTokenMs: firstAt === null ? null : firstAt - sentAt,
    tokens,
    tokensPerSecond: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null,
  };
}
