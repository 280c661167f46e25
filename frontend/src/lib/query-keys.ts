/**
 * Cache keys. The live stream refreshes by them: everything about one model starts with `model, id`,
 * so that a new event of that model reaches whatever shows it.
 */
export const keys = {
  session: ['session'] as const,
  models: ['models'] as const,
  model: (modelId: string, ...rest: unknown[]) => ['model', modelId, ...rest] as const,
  marketplace: ['marketplace'] as const,
  events: ['events'] as const,
  users: ['users'] as const,
  tokens: ['tokens'] as const,
  connections: ['connections'] as const,
  servers: ['servers'] as const,
  serverLoad: (name: string, hours: number) => ['server-load', name, hours] as const,
  parked: ['parked'] as const,
  prices: ['prices'] as const,
  usage: (...what: unknown[]) => ['usage', ...what] as const,
  batches: ['batches'] as const,
  batch: (batchId: string) => ['batches', batchId] as const,
  engineOptions: (...rest: string[]) => ['engine-options', ...rest] as const,
  deployOptions: (modelId: string) => ['deploy-options', modelId] as const,
};
