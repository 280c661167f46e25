import { describe, expect, it } from 'vitest';
import { ApiProblem } from './problem';

function answer(status: number, body: string, headers: Record<string, string> = {}): Response {
  return new Response(body, { status, headers });
}

describe('ApiProblem.fromResponse', () => {
  it('keeps what is wrong, with which field, and the remedy', async () => {
    const problem = await ApiProblem.fromResponse(
      answer(
        422,
        JSON.stringify({
          title: 'Unprocessable',
          status: 422,
          detail: 'The model name contains a space.',
          remedy: 'Rename the file.',
          errors: [{ field: 'name', message: 'contains a space' }],
        }),
      ),
    );
    expect(problem).toMatchObject({ status: 422, detail: 'The model name contains a space.', remedy: 'Rename the file.' });
    expect(problem.fieldErrors).toEqual({ name: 'contains a space' });
    expect(problem.transient).toBe(false);
  });

  it('carries the current state of a conflict', async () => {
    const problem = await ApiProblem.fromResponse(answer(409, JSON.stringify({ detail: 'Changed.', current: { version: 7 } })));
    expect(problem.current).toEqual({ version: 7 });
  });

  it('has a remedy even when a proxy answered with HTML', async () => {
    const problem = await ApiProblem.fromResponse(answer(503, '<h1>down</h1>', { 'Retry-After': '2' }));
    expect(problem.transient).toBe(true);
    expect(problem.retryAfter).toBe(2);
    expect(problem.remedy).not.toBe('');
  });

  it('drops malformed field errors', async () => {
    const problem = await ApiProblem.fromResponse(answer(400, JSON.stringify({ errors: [{ field: 3 }, 'x', { field: 'a', message: 'b' }] })));
    expect(problem.errors).toEqual([{ field: 'a', message: 'b' }]);
  });
});
