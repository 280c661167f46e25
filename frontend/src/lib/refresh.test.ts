import { QueryClient, QueryObserver } from '@tanstack/react-query';
import { describe, expect, it } from 'vitest';
import { refresh } from './refresh';

describe('refresh', () => {
  it('reads again what changed while it was read for the first time', async () => {
    const client = new QueryClient();
    let now = 'importing';
    let answer: () => void = () => undefined;
    const read = async () => {
      const seen = now;
      await new Promise<void>((resolve) => (answer = resolve));
      return seen;
    };
    const shown = new QueryObserver(client, { queryKey: ['model', 'm'], queryFn: read });
    const stop = shown.subscribe(() => undefined);
    now = 'ready';
    const refreshed = refresh(client, ['model', 'm']);
    answer();
    await expect.poll(() => shown.getCurrentResult().data).toBe('importing');
    answer();
    await refreshed;
    expect(shown.getCurrentResult().data).toBe('ready');
    stop();
  });
});
