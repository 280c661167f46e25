import { describe, expect, it } from 'vitest';
import type { Deployment, Replica } from '@/lib/api/types';
import { deployStages } from './deploy-stages';

function replica(revision: number, endpoint: string | null): Replica {
  return { id: `${revision}${endpoint ?? ''}`, revision, state: endpoint === null ? 'starting' : 'ready', endpoint, startedAt: null, warnings: [] };
}

function running(replicas: Replica[], step?: string, servingRevision: number | null = 1): string | undefined {
  const deployment = { desiredRevision: 2, servingRevision, replicas } as Deployment;
  return deployStages(deployment, step).find(({ state }) => state === 'running')?.id;
}

describe('deployStages', () => {
  it('follows what was observed about the replicas of the desired revision', () => {
    const old = replica(1, 'http://old');
    expect(running([old])).toBe('environment');
    expect(running([old, replica(2, null)])).toBe('engine');
    expect(running([old, replica(2, null)], 'ready')).toBe('answer');
    expect(running([old, replica(2, 'http://new')])).toBe('traffic');
  });

  it('does not count a replica that was lost', () => {
    expect(running([{ ...replica(2, 'http://gone'), state: 'lost' }])).toBe('environment');
  });

  it('waits for all replicas before traffic', () => {
    expect(running([replica(2, 'http://a'), replica(2, null)])).toBe('engine');
  });

  it('is done when the desired revision serves', () => {
    expect(running([replica(2, 'http://new')], undefined, 2)).toBeUndefined();
  });
});
