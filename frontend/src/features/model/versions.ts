import type { ModelVersion, VersionComparison } from '@/lib/api/types';
import { modelQuery } from '@/lib/queries';

/** Every version of a model, newest first. */
export function versionsQuery(modelId: string) {
  return modelQuery<{ items: ModelVersion[] }>(modelId, 'versions');
}

export function comparisonQuery(modelId: string, from: string, to: string) {
  return modelQuery<VersionComparison>(modelId, 'versions/compare', { from, to });
}
