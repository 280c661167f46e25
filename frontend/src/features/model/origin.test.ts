import { describe, expect, it } from 'vitest';
import type { ModelDetail } from '@/lib/api/types';
import { originFacts, originParts } from './origin';

const nothing = { resolved: null, fileName: null, card: null };

function shown(model: Pick<ModelDetail, 'source' | 'origin'> & Partial<ModelDetail>): Record<string, string> {
  return Object.fromEntries(originFacts({ ...nothing, ...model }).map(({ label, value }) => [label, value]));
}

describe('originFacts', () => {
  it('names the commit of a repository', () => {
    expect(
      shown({
        source: 'huggingface',
        origin: { huggingface: { repository: 'org/model', revision: 'main', connection: null, files: ['gguf:q4'] } },
        resolved: { revision: 'abc' },
      }),
    ).toEqual({ Repository: 'org/model', Revision: 'main', Commit: 'abc', Weights: 'gguf:q4' });
  });

  it('says what happens to the files of a path', () => {
    expect(shown({ source: 'path', origin: { path: { path: '/models/x', mode: 'reference', template: null } } })).toEqual({
      Path: '/models/x',
      Files: 'Left in their place',
    });
  });

  it('leaves out resources that nobody asks for', () => {
    const origin = { manual: { type: 'llm', runtime: 'PyTorch', resources: { cpu: 2, memoryGib: 0, gpu: 1, gpuMemoryGib: 0 }, weights: null } };
    expect(shown({ source: 'manual', origin })).toMatchObject({ Resources: '2 CPU cores, 1 GPUs', Type: 'Language model (LLM)' });
  });

  it('knows the documents of an image', () => {
    expect(originParts({ containerImage: { configuration: '{}', inputSchema: null } })).toEqual({
      configuration: '{}',
      inputSchema: null,
      outputSchema: null,
    });
  });
});
