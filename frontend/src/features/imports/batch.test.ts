import { expect, it } from 'vitest';
import type { Batch, BatchRow } from '@/lib/api/types';
import { batchCounts } from './batch';

function row(state: BatchRow['state']): BatchRow {
  return { id: state, name: 'model', state, modelVersion: '0.0.1', failure: null, retriable: false };
}

it('counts the rows of a batch by how they stand', () => {
  const rows = (['importing', 'validating', 'ready_to_deploy', 'import_failed', 'deleted'] as const).map(row);
  const batch: Batch = {
    id: 'b1',
    address: 'https://models.example.org/',
    format: 'json',
    manifestSha256: '00',
    requestedBy: 'user:admin',
    requestedAt: '2026-01-01T00:00:00Z',
    states: {},
    rows,
  };
  expect(batchCounts(batch)).toEqual({ running: 2, ready: 1, failed: 1, deleted: 1 });
});
