import { queryOptions } from '@tanstack/react-query';
import { ApiProblem, request } from './api/client';
import type {
  CostEstimate,
  DeployConfiguration,
  Deployment,
  DeployOptions,
  EngineOptions,
  HistoryEntry,
  Rehearsal,
  RevisionComparison,
} from './api/types';
import { atLeast } from './freshness';
import { modelPages, modelQuery } from './queries';
import { keys } from './query-keys';

/** The model's deployment; null when it was never deployed. */
export function deploymentQuery(modelId: string) {
  return queryOptions({
    queryKey: keys.model(modelId, 'deployment'),
    queryFn: async ({ signal }): Promise<Deployment | null> => {
      try {
        return await request<Deployment>('GET', `/api/models/${modelId}/deployment`, {
          query: { atLeast: atLeast(modelId) },
          signal,
        });
      } catch (error) {
        if (error instanceof ApiProblem && error.status === 404) return null;
        throw error;
      }
    },
  });
}

/** The revisions of the model's deployment, newest first. */
export function historyQuery(modelId: string) {
  return modelPages<HistoryEntry>(modelId, 'deployment/history');
}

/** Any two revisions side by side. */
export function comparisonQuery(modelId: string, before: number, after: number) {
  return modelQuery<RevisionComparison>(modelId, 'deployment/comparison', { before, after });
}

/** Why and how a configuration could be deployed now; nothing is written. */
export function rehearsalQuery(modelId: string, configuration: DeployConfiguration, version: number | undefined) {
  return queryOptions({
    queryKey: keys.model(modelId, 'deployment/dry-run', version, configuration),
    queryFn: ({ signal }) =>
      request<Rehearsal>('POST', `/api/models/${modelId}/deployment/dry-run`, {
        body: { configuration, termsAccepted: true },
        query: { atLeast: atLeast(modelId) },
        signal,
      }),
    retry: false,
  });
}

/** What a deployment can be made of now: terms, servers with their free capacity, defaults. */
export function deployOptionsQuery(modelId: string) {
  return queryOptions({
    queryKey: keys.deployOptions(modelId),
    queryFn: ({ signal }) => request<DeployOptions>('GET', '/api/deploy/options', { query: { modelId }, signal }),
  });
}

/** The engine's own argument list, as it is installed on a server; null where the server does not tell. */
export function engineOptionsQuery(engine: string, accelerator: string, server: string) {
  return queryOptions({
    queryKey: keys.engineOptions(engine, accelerator, server),
    queryFn: ({ signal }) =>
      request<EngineOptions>('GET', `/api/engines/${encodeURIComponent(engine)}/options`, {
        query: { accelerator, server },
        signal,
      }).catch(unlessMissing),
  });
}

/** What the configuration costs by the prices in force; null where nothing is told about prices. */
export function costQuery(modelId: string, configuration: DeployConfiguration) {
  return queryOptions({
    queryKey: keys.model(modelId, 'cost', configuration),
    queryFn: ({ signal }) =>
      request<CostEstimate>('POST', '/api/prices/estimate', { body: { modelId, configuration }, signal }).catch(unlessMissing),
    retry: false,
  });
}

function unlessMissing(error: unknown): null {
  if (error instanceof ApiProblem && [403, 404].includes(error.status)) return null;
  throw error;
}

/** True while something is being brought up or taken down. */
export function inTransition(deployment: Deployment): boolean {
  return ['optimizing', 'deploying', 'stopping'].includes(deployment.state);
}
