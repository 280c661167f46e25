import { useSyncExternalStore } from 'react';

export interface Notice {
  /** Position of the event it tells of; one event is told once. */
  position: number;
  time: string;
  tone: 'good' | 'bad' | 'neutral';
  title: string;
  /** What to do about it, or what it means. */
  detail: string;
  modelId: string | null;
}

interface Kept {
  notices: Notice[];
  /** Everything up to here has been read. */
  readUpTo: number;
}

const STORAGE_KEY = 'loggia.notifications';
const MAX_KEPT = 100;
const NOTHING: Kept = { notices: [], readUpTo: 0 };

/** What happened while this person worked, newest first, kept in this browser. */
class NotificationStore {
  #kept: Kept = load();
  readonly #listeners = new Set<() => void>();

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  get kept(): Kept {
    return this.#kept;
  }

  /** Adds what is not known yet. Returns whether anything was. */
  add(...notices: Notice[]): boolean {
    const known = new Set(this.#kept.notices.map(({ position }) => position));
    const fresh = notices.filter(({ position }) => !known.has(position));
    if (fresh.length === 0) return false;
    const all = [...this.#kept.notices, ...fresh].sort((a, b) => b.position - a.position);
    this.#save({ ...this.#kept, notices: all.slice(0, MAX_KEPT) });
    return true;
  }

  markRead(): void {
    const newest = this.#kept.notices[0]?.position ?? 0;
    if (newest > this.#kept.readUpTo) this.#save({ ...this.#kept, readUpTo: newest });
  }

  clear(): void {
    const newest = this.#kept.notices[0]?.position ?? 0;
    this.#save({ notices: [], readUpTo: Math.max(newest, this.#kept.readUpTo) });
  }

  #save(kept: Kept): void {
    this.#kept = kept;
    try {
      localStorage.setItem(STORAGE_KEY, JSON.stringify(kept));
    } catch {
      // Storage is full or forbidden: the list lives as long as the page.
    }
    for (const listener of this.#listeners) listener();
  }
}

function load(): Kept {
  try {
    const kept = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? 'null') as Kept | null;
    return kept !== null && Array.isArray(kept.notices) ? kept : NOTHING;
  } catch {
    return NOTHING;
  }
}

export const notificationStore = new NotificationStore();

export function useNotices(): Kept {
  return useSyncExternalStore(notificationStore.subscribe, () => notificationStore.kept);
}
