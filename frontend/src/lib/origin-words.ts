import type { ImportSource } from './api/types';

export const SOURCE_NAMES: Record<ImportSource, string> = {
  upload: 'Upload',
  huggingface: 'Hugging Face',
  url: 'Web address',
  path: 'Server path',
  container_image: 'Container image',
  manual: 'Description',
};

export const MODEL_TYPES: Record<string, string> = {
  llm: 'Language model (LLM)',
  embedding: 'Embedding',
  reranker: 'Reranker',
  diffusion: 'Diffusion',
  speech: 'Speech',
  vision: 'Vision',
  other: 'Other',
};

export const DEPLOYMENT_TYPES: Record<string, string> = {
  real_time: 'Real-time service',
  batch: 'Batch service',
  edge: 'Edge service',
};
