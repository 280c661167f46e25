import type { Batch, BatchRow } from '@/lib/api/types';

/** How a row of a batch stands, in the fewest words. */
export type Group = 'running' | 'ready' | 'failed' | 'deleted';

export const GROUPS: { id: Group; title: string; words: string }[] = [
  { id: 'running', title: 'Under way', words: 'under way' },
  { id: 'ready', title: 'Ready', words: 'ready' },
  { id: 'failed', title: 'Failed', words: 'failed' },
  { id: 'deleted', title: 'Deleted', words: 'deleted since' },
];

export function groupOf(state: BatchRow['state']): Group {
  switch (state) {
    case 'importing':
    case 'validating':
      return 'running';
    case 'ready_to_deploy':
      return 'ready';
    case 'import_failed':
      return 'failed';
    case 'deleted':
      return 'deleted';
  }
}

export function batchCounts(batch: Batch): Record<Group, number> {
  const counts: Record<Group, number> = { running: 0, ready: 0, failed: 0, deleted: 0 };
  for (const { state } of batch.rows) counts[groupOf(state)] += 1;
  return counts;
}
