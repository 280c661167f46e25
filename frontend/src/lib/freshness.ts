/**
 * The newest position known for each model, from our own commands and from the live stream.
 * A query that carries it as `atLeast` never answers with an older state than the person has already been shown.
 */
const newest = new Map<string, number>();
let newestOfAll = 0;

export function rememberPosition(modelId: string | null | undefined, position: number): void {
  newestOfAll = Math.max(newestOfAll, position);
  if (modelId) newest.set(modelId, Math.max(newest.get(modelId) ?? 0, position));
}

/** The position a query of this model must have reached; without a model, that of every model. */
export function atLeast(modelId?: string): number | undefined {
  const position = modelId === undefined ? newestOfAll : (newest.get(modelId) ?? 0);
  return position === 0 ? undefined : position;
}

/** After a restore or a restart on other data, remembered positions may never come. */
export function forgetPositions(): void {
  newest.clear();
  newestOfAll = 0;
}
