import type { ModelSummary } from '@/lib/api/types';
import { formatCount } from '@/lib/format';

/** One line about the model: what people wrote, else what its files say. */
export function modelWords(model: ModelSummary): string {
  if (model.description !== '') return model.description;
  const facts = [
    model.architecture,
    model.parameterCount === null ? null : `${formatCount(model.parameterCount)} parameters`,
  ].filter((fact) => fact !== null);
  return facts.length > 0 ? facts.join(' · ') : 'No description yet';
}
