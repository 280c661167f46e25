import { useMutation } from '@tanstack/react-query';
import { ApiProblem, request } from '@/lib/api/client';
import type { ImportBody, ImportCheck, Inspection } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';

/** The server itself gives up on a slow source before this. */
export const LOOK_TIMEOUT_MS = 120_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5_000;

/** A check that was begun and is not over. */
interface Underway {
  id: string;
}

/** Begins an import; its model is then in the gallery. */
export function useImport(onAccepted: (modelId: string) => void) {
  return useCommand<ImportBody>({
    request: (body) => ({ method: 'POST', path: '/api/imports', body }),
    modelId: (answer) => answer.id,
    problems: 'inline',
    onAccepted: (answer) => onAccepted(answer.id),
  });
}

/** Says what an import would find and write. Nothing is written. */
export function useImportCheck() {
  return useMutation<ImportCheck, ApiProblem, ImportBody>({ mutationFn: checkImport });
}

/** The check of a large model outlasts its request: then its result is fetched under its id. */
export async function checkImport(body: ImportBody): Promise<ImportCheck> {
  let answer = await request<ImportCheck | Underway>('POST', '/api/imports', {
    body,
    query: { dryRun: true },
    timeout: LOOK_TIMEOUT_MS,
  });
  for (let pause = FIRST_PAUSE_MS; !('events' in answer); pause = Math.min(pause * 1.5, LONGEST_PAUSE_MS)) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    answer = await request<ImportCheck | Underway>('GET', `/api/imports/dry-runs/${answer.id}`);
  }
  return answer;
}

/** What is wrong with a container configuration, place by place; nothing where the server cannot say. */
export async function configurationFaults(text: string): Promise<Inspection['faults']> {
  try {
    const body = { source: 'container_configuration', text };
    const { faults } = await request<Inspection>('POST', '/api/imports/inspect', { body });
    return faults;
  } catch {
    return [];
  }
}

interface Question {
  source: 'huggingface' | 'path' | 'container_image';
  [field: string]: unknown;
}

/** Looks at a repository, a path or an image, without importing it. */
export function useLook() {
  return useMutation<Inspection, ApiProblem, Question>({
    mutationFn: (question) =>
      request<Inspection>('POST', '/api/imports/inspect', { body: question, timeout: LOOK_TIMEOUT_MS }),
  });
}
