import { act, renderHook } from '@testing-library/react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { appended, useLogStream } from './log-stream';

class Source extends EventTarget {
  static readonly CLOSED = 2;
  static opened: Source[] = [];
  readyState = 0;

  constructor(readonly url: string) {
    super();
    Source.opened.push(this);
  }

  close(): void {
    this.readyState = Source.CLOSED;
  }

  say(lines: string[], id: string): void {
    act(() => {
      this.dispatchEvent(new Event('open'));
      this.dispatchEvent(new MessageEvent('lines', { data: JSON.stringify(lines), lastEventId: id }));
    });
  }

  fail(state: number): void {
    this.readyState = state;
    act(() => {
      this.dispatchEvent(new Event('error'));
    });
  }
}

describe('useLogStream', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    Source.opened = [];
    vi.stubGlobal('EventSource', Source);
    vi.stubGlobal('fetch', () => Promise.resolve(new Response('{}')));
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  const last = () => Source.opened.at(-1) as Source;
  const pass = (ms: number) => {
    act(() => {
      vi.advanceTimersByTime(ms);
    });
  };

  it('is opened again after the last line where it was refused, at growing intervals', () => {
    const { result } = renderHook(() => useLogStream('m', 'r'));
    last().say(['one'], '17');
    expect(result.current).toEqual({ lines: ['one'], connected: true });
    for (const [attempt, seconds] of [1, 2, 4, 8, 15, 15].entries()) {
      last().fail(Source.CLOSED);
      expect(result.current.connected).toBe(false);
      pass(seconds * 1000 - 1);
      expect(Source.opened).toHaveLength(attempt + 1);
      pass(1);
      expect(Source.opened).toHaveLength(attempt + 2);
    }
    expect(last().url).toBe('/api/models/m/deployment/logs/stream?replica=r&after=17');
    last().say(['two'], '18');
    expect(result.current).toEqual({ lines: ['one', 'two'], connected: true });
    last().fail(Source.CLOSED);
    pass(1000);
    expect(last().url).toContain('after=18');
  });

  it('leaves to the browser what the browser does by itself', () => {
    renderHook(() => useLogStream('m', 'r'));
    last().fail(0);
    pass(60_000);
    expect(Source.opened).toHaveLength(1);
  });

  it('is not opened again once nobody looks', () => {
    const { unmount } = renderHook(() => useLogStream('m', null));
    last().fail(Source.CLOSED);
    unmount();
    pass(60_000);
    expect(Source.opened).toHaveLength(1);
    expect(last().readyState).toBe(Source.CLOSED);
  });
});

it('keeps the last lines of many', () => {
  expect(appended(['a'], ['b', 'c'])).toEqual(['a', 'b', 'c']);
  expect(appended(Array.from({ length: 4000 }, String), ['last'])).toHaveLength(4000);
});
