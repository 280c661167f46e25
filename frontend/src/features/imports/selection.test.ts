import { describe, expect, it } from 'vitest';
import type { OfferedModel } from '@/lib/api/types';
import { matchingRows, MOST_MODELS, rowRefusal, withoutRows, withRows } from './selection';

function row(name: string, more: Partial<OfferedModel> = {}): OfferedModel {
  return {
    name,
    kind: 'base',
    source: 'url',
    address: `https://models.example.org/${name}.zip`,
    baseModel: null,
    fileCount: 1,
    sizeBytes: 10,
    description: '',
    problem: null,
    existingModelId: null,
    ...more,
  };
}

describe('the selection from a list', () => {
  const rows = [row('one'), row('two', { existingModelId: 'm1' }), row('three', { problem: 'No weights.' })];

  it('takes only what can be imported', () => {
    expect([...withRows(new Set(), rows)]).toEqual(['one']);
    expect(rows.map(rowRefusal)).toEqual([null, 'Already in the gallery', 'No weights.']);
  });

  it('never takes more than a batch may have', () => {
    const many = Array.from({ length: MOST_MODELS + 500 }, (_, place) => row(`m${place}`));
    expect(withRows(new Set(), many).size).toBe(MOST_MODELS);
  });

  it('keeps what was chosen outside of the rows', () => {
    expect([...withoutRows(new Set(['one', 'other']), rows)]).toEqual(['other']);
  });

  it('is searched by every word, wherever it stands', () => {
    const found = matchingRows([row('qwen-7b', { description: 'Chat model' }), row('qwen-1b')], 'QWEN chat');
    expect(found.map(({ name }) => name)).toEqual(['qwen-7b']);
    expect(matchingRows(rows, '  ')).toHaveLength(3);
  });
});
