import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useRef } from 'react';
import { ApiProblem, request, type Method } from './api/client';
import type { Accepted } from './api/types';
import { rememberPosition } from './freshness';
import { keys } from './query-keys';
import { refresh } from './refresh';
import { newId } from './new-id';

export interface CommandRequest {
  method: Method;
  path: string;
  body?: unknown;
  /** Aggregate version the person was looking at; a newer one on the server answers 409. */
  ifMatch?: number | undefined;
}

export interface CommandOptions<Variables, Answer> {
  /** The request for these variables. */
  request: (variables: Variables) => CommandRequest;
  /** The model whose queries must show this command's effect. For a new model, take it from the answer. */
  modelId?: string | ((answer: Answer, variables: Variables) => string | undefined);
  /** Text of the toast when the command is accepted; leave out for none. */
  accepted?: string | ((answer: Answer, variables: Variables) => string);
  onAccepted?: (answer: Answer, variables: Variables) => void;
  /** 'toast' (default) shows a refusal as a toast; 'inline' leaves it to the caller, in `error`. */
  problems?: 'toast' | 'inline';
}

const RETRIES = 2;

/**
 * Sends a command. A repeated attempt of the same command, by itself after a lost answer or by the person
 * after an error of unknown outcome, carries the same Idempotency-Key, so that it is done once.
 */
export function useCommand<Variables = void, Answer extends Partial<Accepted> | undefined = Accepted>(
  options: CommandOptions<Variables, Answer>,
) {
  const queryClient = useQueryClient();
  const unanswered = useRef<{ fingerprint: string; key: string } | null>(null);

  return useMutation<Answer, ApiProblem, Variables>({
    mutationFn: async (variables) => {
      const command = options.request(variables);
      const fingerprint = JSON.stringify(command);
      if (unanswered.current?.fingerprint !== fingerprint) {
        unanswered.current = { fingerprint, key: newId() };
      }
      const headers: Record<string, string> = { 'Idempotency-Key': unanswered.current.key };
      if (command.ifMatch !== undefined) headers['If-Match'] = `"${command.ifMatch}"`;
      try {
        const answer = await request<Answer>(command.method, command.path, { body: command.body, headers });
        unanswered.current = null;
        return answer;
      } catch (error) {
        const problem = ApiProblem.from(error);
        if (!problem.transient) unanswered.current = null;
        throw problem;
      }
    },
    retry: (count, problem) => problem.transient && count < RETRIES,
    retryDelay: (count, problem) => (problem.retryAfter ?? 2 ** count) * 1000,
    onSuccess: (answer, variables) => {
      const modelId =
        typeof options.modelId === 'function' ? options.modelId(answer, variables) : options.modelId;
      if (answer?.position !== undefined) rememberPosition(modelId, answer.position);
      if (modelId !== undefined) {
        void refresh(queryClient, keys.model(modelId));
        void refresh(queryClient, keys.models);
      }
      const accepted =
        typeof options.accepted === 'function' ? options.accepted(answer, variables) : options.accepted;
      if (accepted) notifications.show({ message: accepted });
      options.onAccepted?.(answer, variables);
    },
    onError: (problem) => {
      if (options.problems === 'inline') return;
      notifications.show({ color: 'red', title: problem.detail, message: problem.remedy, autoClose: 12_000 });
    },
  });
}
