import type { Deployment, HistoryEntry } from '@/lib/api/types';

/** Why the deployment cannot be rolled back to this revision now; null when it can. */
export function rollbackRefusal(entry: HistoryEntry, deployment: Deployment): string | null {
  if (deployment.state === 'stopping') return 'Wait until the deployment has stopped.';
  if (deployment.servingRevision === entry.revision && deployment.desiredRevision === entry.revision) {
    return 'This revision serves now.';
  }
  if (entry.outcome === 'pending') return 'This revision is being brought up.';
  if (entry.deployedAt === null) return 'This revision never served, so there is nothing to go back to.';
  return null;
}
