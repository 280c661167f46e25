import type { FieldError, Problem } from './types';

const REMEDY_BY_STATUS: Record<number, string> = {
  401: 'Sign in again.',
  403: 'Ask an administrator for the role that this needs.',
  404: 'It may have been deleted. Go back and reload the list.',
  409: 'Look at the current state, then decide again.',
  413: 'Choose a smaller file, or ask for a larger quota.',
  429: 'Wait a moment, then try again.',
  503: 'The system is catching up. Try again in a few seconds.',
};

/** A refused or failed request, with what is wrong and what to do about it. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly remedy: string;
  readonly errors: FieldError[];
  readonly current: unknown;
  /** Seconds the server asks to wait before the next try. */
  readonly retryAfter: number | null;

  constructor(problem: Problem, retryAfter: number | null = null) {
    const title = problem.title ?? 'The request failed';
    const detail = problem.detail ?? title;
    super(detail);
    this.status = problem.status;
    this.title = title;
    this.detail = detail;
    this.remedy =
      problem.remedy ?? REMEDY_BY_STATUS[problem.status] ?? 'Try again. If it happens again, look at the server log.';
    this.errors = problem.errors ?? [];
    this.current = problem.current;
    this.retryAfter = retryAfter;
  }

  /** True when the outcome is unknown or temporary, so that repeating the same command is right. */
  get transient(): boolean {
    return this.status === 0 || [502, 503, 504].includes(this.status);
  }

  /** Messages by field name, as a form wants them. */
  get fieldErrors(): Record<string, string> {
    return Object.fromEntries(this.errors.map(({ field, message }) => [field, message]));
  }

  static unreachable(): ApiProblem {
    return new ApiProblem({
      status: 0,
      title: 'The server cannot be reached',
      detail: 'No answer came from the server.',
      remedy: 'Check that Loggia is running and that your network works, then try again.',
    });
  }

  static async fromResponse(response: Response): Promise<ApiProblem> {
    const retryAfter = Number.parseFloat(response.headers.get('retry-after') ?? '');
    let body: unknown = null;
    try {
      body = await response.json();
    } catch {
      // A proxy in between may answer with HTML or nothing: the status still says what happened.
    }
    const problem = isObject(body) ? body : {};
    return new ApiProblem(
      {
        ...problem,
        errors: Array.isArray(problem['errors']) ? problem['errors'].filter(isFieldError) : [],
        status: response.status,
        title: text(problem['title']) ?? (response.statusText || `HTTP ${response.status}`),
        ...optional('detail', text(problem['detail'])),
        ...optional('remedy', text(problem['remedy'])),
      },
      Number.isFinite(retryAfter) ? retryAfter : null,
    );
  }

  /** Any thrown value as a problem, so that every error can be shown the same way. */
  static from(error: unknown): ApiProblem {
    if (error instanceof ApiProblem) return error;
    return new ApiProblem({
      status: 0,
      title: 'Something went wrong on this page',
      detail: error instanceof Error ? error.message : String(error),
      remedy: 'Reload the page and try again.',
    });
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isFieldError(value: unknown): value is FieldError {
  return isObject(value) && typeof value['field'] === 'string' && typeof value['message'] === 'string';
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function optional(key: string, value: string | null): Record<string, string> {
  return value === null ? {} : { [key]: value };
}
