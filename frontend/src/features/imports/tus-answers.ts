import { DetailedError } from 'tus-js-client';
import { ApiProblem, csrfToken } from '@/lib/api/client';

/** The tus status for a piece whose checksum did not match: worth sending again. */
const CHECKSUM_MISMATCH = 460;
const TIMEOUT_MS = 15_000;

/** What the server has of an upload: bytes from its beginning, or nothing any more. */
export type UploadState = { gone: true } | { gone: false; offset: number };

/** Asks how far an upload has come; null where the server cannot say now. */
export async function askOffset(url: string): Promise<UploadState | null> {
  let answer: Response;
  try {
    answer = await fetch(url, {
      method: 'HEAD',
      headers: { 'Tus-Resumable': '1.0.0' },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    return null;
  }
  if ([403, 404, 410].includes(answer.status)) return { gone: true };
  const offset = Number.parseInt(answer.headers.get('Upload-Offset') ?? '', 10);
  return answer.ok && !Number.isNaN(offset) ? { gone: false, offset } : null;
}

/** Removes what has arrived. Left behind, it expires by itself. */
export async function terminate(url: string): Promise<void> {
  try {
    await fetch(url, {
      method: 'DELETE',
      headers: { 'Tus-Resumable': '1.0.0', 'X-CSRF-Token': csrfToken() },
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
  } catch {
    // See above.
  }
}

export function worthRepeating(error: DetailedError | Error): boolean {
  const status = 'originalResponse' in error ? (error.originalResponse?.getStatus() ?? 0) : 0;
  return status === 0 || status >= 500 || status === 409 || status === 423 || status === CHECKSUM_MISMATCH;
}

export async function problemOf(error: Error): Promise<ApiProblem> {
  const response = error instanceof DetailedError ? error.originalResponse : null;
  if (response === null) return ApiProblem.unreachable();
  return ApiProblem.fromResponse(new Response(response.getBody(), { status: response.getStatus() }));
}

export function expired(fileName: string): ApiProblem {
  return new ApiProblem({
    status: 410,
    detail: `The server no longer has the upload of “${fileName}”.`,
    remedy: 'Delete the model that waits for it, then import the file again.',
  });
}
