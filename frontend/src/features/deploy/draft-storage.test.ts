import { describe, expect, it } from 'vitest';
import type { DeployConfiguration } from '@/lib/api/types';
import { draftOf } from './draft';
import { clearDraft, loadDraft, saveDraft, type StoredDraft } from './draft-storage';

const base: DeployConfiguration = {
  schemaVersion: 1,
  engine: 'vllm',
  optimization: { method: 'skip', quantization: null },
  parameters: { temperature: 1, maxTokens: 256, topP: 1, topK: -1, stop: [], batchSize: 8 },
  scaling: { minReplicas: 1, maxReplicas: 1, scaleUpDelaySeconds: 30, scaleDownDelaySeconds: 300 },
  hardware: { server: 'local', accelerator: 'cpu', acceleratorCount: 0, memoryGib: 4, gpuSharing: 'exclusive' },
  engineArguments: {},
};

function memory(): Storage & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return {
    kept,
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  } as Storage & { kept: Map<string, string> };
}

const held: StoredDraft = {
  draft: { ...draftOf(base), stop: ['END'] },
  details: { description: 'for support', labels: ['chat'] },
  reason: 'shorter answers',
  step: 2,
};

describe('a draft', () => {
  it('comes back as it was, with numbers that are still empty', () => {
    const store = memory();
    const typed = { ...held, draft: { ...held.draft, numbers: { ...held.draft.numbers, 'parameters.topK': '' as const } } };
    saveDraft(store, 'm', base, typed);
    expect(loadDraft(store, 'm', base)).toEqual(typed);
    expect(loadDraft(store, 'other', base)).toBeNull();
  });

  it('is not laid over values that have changed since', () => {
    const store = memory();
    saveDraft(store, 'm', base, held);
    expect(loadDraft(store, 'm', { ...base, engineArguments: { seed: '1' } })).toBeNull();
  });

  it('is gone once it is cleared', () => {
    const store = memory();
    saveDraft(store, 'm', base, held);
    clearDraft(store, 'm');
    expect(loadDraft(store, 'm', base)).toBeNull();
  });

  it('does without a browser that keeps anything, and without what it cannot read', () => {
    const refusing = {
      getItem: () => {
        throw new Error('denied');
      },
      setItem: () => {
        throw new Error('full');
      },
      removeItem: () => {
        throw new Error('denied');
      },
    };
    saveDraft(refusing, 'm', base, held);
    clearDraft(refusing, 'm');
    expect(loadDraft(refusing, 'm', base)).toBeNull();
    const store = memory();
    store.kept.set('loggia.deploy-draft.m', '{');
    expect(loadDraft(store, 'm', base)).toBeNull();
  });
});
