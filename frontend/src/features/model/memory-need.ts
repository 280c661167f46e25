import type { ModelCard } from '@/lib/api/types';

type MemoryNeed = ModelCard['memory'][number];

/** Bytes for the weights and the cache of one request of this many tokens. */
export function bytesNeeded(need: MemoryNeed, tokens: number): number {
  return need.weightsBytes + need.kvCacheBytesPerToken * tokens;
}

/** Contexts worth choosing, up to what the model can read. */
export function contextChoices(longest: number | null): number[] {
  const most = longest ?? 4096;
  const choices = [2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072].filter((tokens) => tokens < most);
  return [...choices, most];
}
