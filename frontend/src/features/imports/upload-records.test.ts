import { beforeEach, describe, expect, it } from 'vitest';
import { differenceOf, dropRecord, keepRecord, loadRecords, uploadIdOf, type UploadRecord } from './upload-records';

const record: UploadRecord = {
  url: 'http://localhost:3000/api/uploads/u1',
  uploadId: 'u1',
  userId: 'p1',
  importKey: 'k1',
  wish: { kind: 'base' },
  modelId: null,
  fileName: 'model.zip',
  size: 1000,
  lastModified: 5,
};

describe('upload records', () => {
  beforeEach(() => localStorage.clear());

  it('survive a reload, once each, with what was learned last', () => {
    keepRecord(record);
    keepRecord({ ...record, modelId: 'm1' });
    keepRecord({ ...record, uploadId: 'u2' });
    expect(loadRecords().map(({ uploadId, modelId }) => [uploadId, modelId])).toEqual([
      ['u1', 'm1'],
      ['u2', null],
    ]);
    dropRecord('u1');
    expect(loadRecords().map(({ uploadId }) => uploadId)).toEqual(['u2']);
  });

  it.each(['not json', '{}', '[{"url": 1}]', 'null'])('are none where storage holds %s', (stored) => {
    localStorage.setItem('loggia.uploads', stored);
    expect(loadRecords()).toEqual([]);
  });

  it('recognise the file they began with', () => {
    const file = { name: 'model.zip', size: 1000, lastModified: 5 };
    expect(differenceOf(record, file)).toBeNull();
    expect(differenceOf(record, { ...file, name: 'other.zip' })).toContain('other.zip');
    expect(differenceOf(record, { ...file, size: 999 })).toContain('size');
    expect(differenceOf(record, { ...file, lastModified: 6 })).toContain('changed');
  });

  it('take the id from absolute and relative addresses', () => {
    expect(uploadIdOf('https://example.org/api/uploads/abc')).toBe('abc');
    expect(uploadIdOf('/api/uploads/abc/')).toBe('abc');
  });
});
