import { expect, it } from 'vitest';
import { cardDifferences, fileDifferences } from './version-differences';

it('writes fields of a card as a person reads them', () => {
  const found = cardDifferences([
    { field: 'parameterCount', before: 1000, after: 2000 },
    { field: 'totalBytes', before: null, after: 1_500_000 },
    { field: 'languages', before: [], after: ['en', 'de'] },
    { field: 'chatTemplate', before: false, after: true },
  ]);
  expect(found.map(({ label, before, after }) => [label, before, after])).toEqual([
    ['Parameter count', '1,000', '2,000'],
    ['Total bytes', null, '1.5 MB'],
    ['Languages', null, 'en, de'],
    ['Chat template', 'No', 'Yes'],
  ]);
});

it('tells files of one size apart', () => {
  const file = { path: 'a.json', sizeBytes: 10, sha256: 'a'.repeat(64) };
  const [found] = fileDifferences([{ path: 'a.json', change: 'changed', before: file, after: { ...file, sha256: 'b'.repeat(64) } }]);
  expect(found).toMatchObject({ label: 'a.json', before: `10 B · ${'a'.repeat(12)}`, after: `10 B · ${'b'.repeat(12)}` });
});
