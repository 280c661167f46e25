import type { ModelVersion, VersionComparison } from '@/lib/api/types';
import { modelPages, modelQuery } from '@/lib/queries';

/** The versions of a model, newest first. */
export function versionsQuery(modelId: string) {
  return modelPages<ModelVersion>(modelId, 'versions');
}

export function comparisonQuery(modelId: string, from: string, to: string) {
  return modelQuery<VersionComparison>(modelId, 'versions/compare', { from, to });
}
