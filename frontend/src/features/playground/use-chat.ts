import { useCallback, useEffect, useRef, useState } from 'react';
import { ApiProblem, request } from '@/lib/api/client';
import type { PlaygroundToken } from '@/lib/api/types';
import { newId } from '@/lib/new-id';
import { readCompletion, StreamFailure } from './completion-stream';
import { figures, requestBody, type Failure, type Message, type Sampling } from './conversation';

/** A token is renewed when it has less than this (ms) to live: an answer may take a while. */
const TOKEN_MARGIN_MS = 60_000;
/** Without a byte for this long (ms) the answer counts as lost, so that nobody waits for ever. */
const SILENCE_MS = 60_000;

class Refused extends Error {
  constructor(readonly failure: Failure) {
    super(failure.reason);
  }
}

/** A conversation with a deployed model. It lives in memory only and ends with the page. */
export function useChat(modelId: string, chat: boolean) {
  const [messages, setMessages] = useState<Message[]>([]);
  const token = useRef<PlaygroundToken | null>(null);
  const running = useRef<AbortController | null>(null);
  const busy = messages.at(-1)?.state === 'streaming';

  useEffect(() => () => running.current?.abort(), []);

  const change = useCallback((id: string, part: Partial<Message>) => {
    setMessages((before) => before.map((message) => (message.id === id ? { ...message, ...part } : message)));
  }, []);

  const answer = useCallback(
    async (history: Message[], sampling: Sampling) => {
      const id = newId();
      const controller = new AbortController();
      running.current = controller;
      setMessages([...history, blank(id)]);

      const sentAt = performance.now();
      let firstAt: number | null = null;
      let text = '';
      let tokens = 0;
      let finishReason: string | null = null;
      const silence = watchSilence(controller);
      const now = () => figures(sentAt, firstAt, performance.now(), tokens);

      try {
        token.current = await freshToken(token.current, modelId, controller.signal);
        const body = await send(token.current, requestBody(token.current.model, history, sampling, chat), chat, controller.signal);
        for await (const delta of readCompletion(body)) {
          silence.heard();
          if (delta.text !== '') {
            firstAt ??= performance.now();
            text += delta.text;
            tokens += 1;
          }
          tokens = delta.completionTokens ?? tokens;
          finishReason = delta.finishReason ?? finishReason;
          change(id, { text, figures: now(), finishReason });
        }
        change(id, { state: 'complete', figures: now() });
      } catch (error) {
        if (controller.signal.aborted && !silence.broke()) {
          change(id, { state: 'stopped', figures: now() });
          return;
        }
        if (error instanceof Refused && error.failure === EXPIRED) token.current = null;
        change(id, { state: 'failed', figures: null, failure: failureOf(error, silence.broke()) });
      } finally {
        silence.end();
        if (running.current === controller) running.current = null;
      }
    },
    [change, chat, modelId],
  );

  return {
    messages,
    busy,
    send: (text: string, sampling: Sampling) => {
      const question: Message = { ...blank(newId()), role: 'user', text, state: 'complete' };
      void answer([...messages.filter(({ state }) => state !== 'failed'), question], sampling);
    },
    /** Asks the last question once more. */
    retry: (sampling: Sampling) => {
      const last = messages.findLastIndex(({ role }) => role === 'user');
      if (last !== -1) void answer(messages.slice(0, last + 1), sampling);
    },
    stop: () => running.current?.abort(),
    clear: () => {
      running.current?.abort();
      setMessages([]);
    },
  };
}

function blank(id: string): Message {
  return { id, role: 'assistant', text: '', state: 'streaming', figures: null, finishReason: null, failure: null };
}

async function freshToken(known: PlaygroundToken | null, modelId: string, signal: AbortSignal): Promise<PlaygroundToken> {
  if (known !== null && Date.parse(known.expiresAt) - Date.now() > TOKEN_MARGIN_MS) return known;
  return request<PlaygroundToken>('POST', `/api/models/${modelId}/playground-token`, { signal });
}

async function send(
  { token, gatewayUrl }: PlaygroundToken,
  body: object,
  chat: boolean,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  let response: Response;
  try {
    response = await fetch(`${gatewayUrl}/v1/${chat ? 'chat/completions' : 'completions'}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Refused({
      reason: `The gateway at ${gatewayUrl} cannot be reached.`,
      remedy: 'Check that it runs and that your browser may reach this address, then send the message again.',
    });
  }
  if (!response.ok) throw new Refused(await refusedBy(response));
  if (response.body === null) throw new StreamFailure('The gateway sent an empty answer.');
  return response.body;
}

const EXPIRED: Failure = {
  reason: 'The permission to use the playground has expired.',
  remedy: 'Send the message again: a new permission is requested by itself.',
};

async function refusedBy(response: Response): Promise<Failure> {
  if (response.status === 401) return EXPIRED;
  let reason = `The gateway answered with status ${response.status}.`;
  try {
    const body = (await response.json()) as { error?: { message?: string } };
    reason = body.error?.message ?? reason;
  } catch {
    // Not every proxy in between answers in JSON: the status has been said already.
  }
  const remedies: Record<number, string> = {
    400: 'Change the parameters or shorten the conversation, then send it again.',
    404: 'The model is not served any more. Look at its deployment.',
    429: 'Wait a moment, then send the message again.',
    503: 'The model is not ready. Look at its deployment, then send the message again.',
  };
  return { reason, remedy: remedies[response.status] ?? 'Send the message again. If it fails again, look at the engine log.' };
}

function failureOf(error: unknown, silent: boolean): Failure {
  if (silent) {
    return {
      reason: `Nothing came from the model for ${SILENCE_MS / 1000} seconds.`,
      remedy: 'Look at the engine log of the deployment, then send the message again.',
    };
  }
  if (error instanceof Refused) return error.failure;
  if (error instanceof ApiProblem) return { reason: error.detail, remedy: error.remedy };
  if (error instanceof StreamFailure) {
    return { reason: error.message, remedy: 'Send the message again. If it fails again, look at the engine log.' };
  }
  return { reason: 'The connection to the gateway broke off.', remedy: 'Send the message again.' };
}

/** Aborts when nothing has been heard for too long. */
function watchSilence(controller: AbortController) {
  let broke = false;
  const breakOff = () => {
    broke = true;
    controller.abort();
  };
  let timer = setTimeout(breakOff, SILENCE_MS);
  return {
    heard: () => {
      clearTimeout(timer);
      timer = setTimeout(breakOff, SILENCE_MS);
    },
    broke: () => broke,
    end: () => clearTimeout(timer),
  };
}
