import { describe, expect, it } from 'vitest';
import { eventWords } from './event-text';

describe('eventWords', () => {
  it.each([
    ['ModelImportRequested', { file_name: 'tiny.zip', source: 'upload' }, 'Import of tiny.zip requested'],
    ['ModelImportRequested', { file_name: '', name: 'tiny', source: 'huggingface' }, 'Import of tiny requested (Hugging Face)'],
    ['ModelVersionRequested', { version: '0.0.2', source: 'path' }, 'Import of version 0.0.2 requested (Server path)'],
    ['ModelRiskAccepted', { risks: ['pickle'], reason: 'our own' }, 'Risk accepted (pickled weights): our own'],
    ['ModelCurrentVersionSelected', { version: '1.0.0' }, 'Version 1.0.0 made current'],
    ['ImportBatchRequested', { address: 'https://example.org', model_ids: ['a', 'b'] }, 'Import of 2 models from https://example.org requested'],
    ['ConnectionRemoved', { name: 'hub' }, 'Connection "hub" removed'],
    ['ServerDrainRequested', { name: 'gpu-7', reason: 'new driver' }, 'Server "gpu-7" is being drained: new driver'],
    ['ServerLost', { name: 'gpu-7', reason: 'no answer' }, 'Server "gpu-7" lost: no answer'],
    [
      'DeploymentScaled',
      { from_replicas: 0, to_replicas: 1, reason: 'Requests wait, and no replica runs.' },
      'Scaled from 0 to 1 replicas: Requests wait, and no replica runs.',
    ],
    ['SomethingNew', {}, 'Something new'],
  ])('says %s as a sentence', (type, data, sentence) => {
    expect(eventWords(type, data).text).toBe(sentence);
  });
});
