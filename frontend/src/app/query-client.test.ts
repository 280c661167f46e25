import { QueryObserver } from '@tanstack/react-query';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiProblem } from '@/lib/api/client';
import { createQueryClient } from './query-client';

const MINUTE = 60_000;

describe('a query', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  /** How often it is asked in a minute, and what it shows then, where each answer comes from `ask`. */
  async function watched(ask: () => Promise<string>) {
    const queryFn = vi.fn(ask);
    const client = createQueryClient();
    const observer = new QueryObserver(client, { queryKey: ['x'], queryFn });
    const leave = observer.subscribe(() => undefined);
    await vi.advanceTimersByTimeAsync(MINUTE);
    const { data } = observer.getCurrentResult();
    leave();
    client.clear();
    return { asked: queryFn.mock.calls.length, data };
  }

  it('is asked once where the answer comes', async () => {
    expect(await watched(() => Promise.resolve('here'))).toEqual({ asked: 1, data: 'here' });
  });

  it('comes to its answer however long the server could not give one', async () => {
    const until = Date.now() + MINUTE / 2;
    const { data } = await watched(() =>
      Date.now() < until ? Promise.reject(ApiProblem.unreachable()) : Promise.resolve('at last'),
    );
    expect(data).toBe('at last');
  });

  it('is not asked again where the server refused', async () => {
    const refusal = new ApiProblem({ status: 404, detail: 'There is none.', remedy: 'Look elsewhere.' });
    expect(await watched(() => Promise.reject(refusal))).toEqual({ asked: 1, data: undefined });
  });
});
