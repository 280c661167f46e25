import type { DeployConfiguration } from '@/lib/api/types';
import type { Details } from '@/lib/details';
import type { Draft } from './draft';

/** What the wizard holds and a reload must not lose. */
export interface StoredDraft {
  draft: Draft;
  details: Pick<Details, 'description' | 'labels'>;
  reason: string;
  step: number;
}

type Store = Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>;

const VERSION = 2;

function keyOf(modelId: string): string {
  return `loggia.deploy-draft.${modelId}`;
}

/** What was typed for this model in this tab; null where nothing was, or where it was typed over other values. */
export function loadDraft(store: Store, modelId: string, base: DeployConfiguration): StoredDraft | null {
  try {
    const kept = JSON.parse(store.getItem(keyOf(modelId)) ?? 'null') as { version: number; base: string; held: StoredDraft } | null;
    return kept?.version === VERSION && kept.base === JSON.stringify(base) ? kept.held : null;
  } catch {
    return null; // unreadable, or the browser keeps nothing
  }
}

/** Keeps it until the tab is closed. */
export function saveDraft(store: Store, modelId: string, base: DeployConfiguration, held: StoredDraft): void {
  try {
    store.setItem(keyOf(modelId), JSON.stringify({ version: VERSION, base: JSON.stringify(base), held }));
  } catch {
    // A browser that keeps nothing only loses the draft on reload.
  }
}

export function clearDraft(store: Store, modelId: string): void {
  try {
    store.removeItem(keyOf(modelId));
  } catch {
    // There is nothing to clear where nothing is kept.
  }
}
