import { useSyncExternalStore } from 'react';
import { Upload } from 'tus-js-client';
import { ApiProblem, csrfToken, reportUnauthorized, request } from '@/lib/api/client';
import type { Accepted, ImportCheck } from '@/lib/api/types';
import { rememberPosition } from '@/lib/freshness';
import { newId } from '@/lib/new-id';
import { telemetryStore } from '@/lib/telemetry';
import { ChecksumHttpStack } from './checksum-http-stack';
import { checkImport } from './import-command';
import { askOffset, expired, problemOf, terminate, worthRepeating } from './tus-answers';
import { differenceOf, dropRecord, keepRecord, loadRecords, uploadIdOf, type UploadRecord, type UploadWish } from './upload-records';

export type UploadStatus =
  /** Asking the server for a place to send to. */
  | 'starting'
  | 'uploading'
  /** All bytes have arrived and are being checked, without an import. */
  | 'checking'
  | 'paused'
  /** Known from before a reload: the person must choose the same file again. */
  | 'needs_file'
  /** All bytes have arrived; the server goes on by itself. */
  | 'complete'
  | 'failed';

export interface UploadItem {
  /** Stable while this page lives. */
  key: string;
  modelId: string | null;
  fileName: string;
  size: number;
  /** Bytes that have safely arrived, as far as this page knows. */
  done: number;
  status: UploadStatus;
  problem: ApiProblem | null;
  /** True where the file is only checked, and no model comes of it. */
  checkOnly: boolean;
  /** What the check found, once it is done. */
  check: ImportCheck | null;
}

interface Running {
  item: UploadItem;
  userId: string;
  /** Ended by a sign-out, and to go on after the next sign-in. */
  interrupted: boolean;
  record: UploadRecord | null;
  upload: Upload | null;
  file: File | null;
  importKey: string;
  wish: UploadWish;
}

const CHUNK_BYTES = 16 * 1024 * 1024;
const RETRY_DELAYS_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000, 30_000];
/** How long a complete upload stays in the list (ms). */
const COMPLETE_SHOWN_MS = 12_000;

/** Sends model archives, several at a time, and remembers enough to go on after a reload. */
export class UploadManager {
  #userId: string | null = null;
  #running: Running[] = [];
  #items: readonly UploadItem[] = [];
  readonly #listeners = new Set<() => void>();

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  get items(): readonly UploadItem[] {
    return this.#items;
  }

  /** Somebody has signed in: their uploads go on, those from before a reload wait for their file. */
  enter(userId: string): void {
    this.#userId = userId;
    for (const running of this.#running) {
      if (running.userId !== userId || !running.interrupted) continue;
      running.interrupted = false;
      this.resume(running.item.key);
    }
    this.#publish();
    void this.#restore(userId);
  }

  /** The person signs out, or the session has ended: nothing is sent in their name any more. */
  leave(): void {
    for (const running of this.#running) {
      if (running.item.checkOnly) {
        void running.upload?.abort();
        this.#forget(running);
      } else if (running.item.status === 'starting' || running.item.status === 'uploading') {
        this.#interrupt(running);
      }
    }
    this.#userId = null;
    this.#publish();
  }

  /**
   * Begins an upload and, as soon as it has a place, the import of the model. With `checkOnly`, the file is checked
   * when it has arrived, and then removed. Returns the upload's key. Only for a person who has entered.
   */
  start(file: File, wish: UploadWish, checkOnly = false): string {
    if (this.#userId === null) throw new Error('nobody is signed in');
    const running: Running = {
      userId: this.#userId,
      interrupted: false,
      item: {
        key: newId(),
        modelId: null,
        fileName: file.name,
        size: file.size,
        done: 0,
        status: 'starting',
        problem: null,
        checkOnly,
        check: null,
      },
      record: null,
      upload: null,
      file,
      importKey: newId(),
      wish,
    };
    this.#running = [...this.#running, running];
    this.#send(running, file);
    return running.item.key;
  }

  /** Brings back uploads that a reload interrupted, with what the server has of them. */
  async #restore(person: string): Promise<void> {
    const known = new Set(this.#running.map(({ record }) => record?.uploadId));
    const records = loadRecords().filter(({ userId, uploadId }) => userId === person && !known.has(uploadId));
    await Promise.all(records.map((record) => this.#restoreOne(record)));
  }

  /** Goes on with a paused or failed upload whose file this page still has. */
  resume(key: string): void {
    const running = this.#find(key);
    if (running?.file == null) return;
    this.#send(running, running.file);
  }

  /** Goes on after a reload. Throws ApiProblem when it is not the same file. */
  resumeWith(key: string, file: File): void {
    const running = this.#find(key);
    if (running?.record == null) return;
    const difference = differenceOf(running.record, file);
    if (difference !== null) {
      throw new ApiProblem({
        status: 0,
        detail: difference,
        remedy: `Choose “${running.record.fileName}” as it was, or cancel this upload and import the new file.`,
      });
    }
    running.file = file;
    this.#send(running, file);
  }

  pause(key: string): void {
    const running = this.#find(key);
    if (running === undefined) return;
    void running.upload?.abort();
    this.#update(running, { status: 'paused' });
  }

  #interrupt(running: Running): void {
    running.interrupted = true;
    void running.upload?.abort();
    this.#update(running, { status: 'paused' });
  }

  /** Ends the upload and the import, and removes what has arrived. */
  async cancel(key: string): Promise<void> {
    const running = this.#find(key);
    if (running === undefined) return;
    await running.upload?.abort();
    const { record } = running;
    if (record?.modelId != null) {
      try {
        const answer = await request<Accepted>('POST', `/api/models/${record.modelId}/import/cancel`, {
          headers: { 'Idempotency-Key': newId() },
        });
        rememberPosition(record.modelId, answer.position);
      } catch (error) {
        const problem = ApiProblem.from(error);
        // Refused (already over, or deleted): there is nothing left to cancel, only the bytes to remove.
        if (problem.transient) {
          this.#update(running, { status: 'failed', problem });
          return;
        }
      }
    }
    if (record !== null) await terminate(record.url);
    this.#forget(running);
  }

  /** Takes a finished or failed entry out of the list. */
  dismiss(key: string): void {
    const running = this.#find(key);
    if (running !== undefined) this.#forget(running);
  }

  #send(running: Running, file: File): void {
    const { record } = running;
    const upload = new Upload(file, {
      endpoint: '/api/uploads',
      ...(record !== null && { uploadUrl: record.url }),
      chunkSize: CHUNK_BYTES,
      retryDelays: RETRY_DELAYS_MS,
      metadata: { filename: file.name, filetype: file.type || 'application/zip' },
      storeFingerprintForResuming: false,
      httpStack: new ChecksumHttpStack(),
      onBeforeRequest: (outgoing) => outgoing.setHeader('X-CSRF-Token', csrfToken()),
      onShouldRetry: worthRepeating,
      onUploadUrlAvailable: () => void this.#placed(running, file),
      onProgress: (done) => this.#progressed(running, done),
      onSuccess: () => this.#completed(running),
      onError: (error) => void this.#failed(running, error),
    });
    running.upload = upload;
    this.#update(running, { status: record === null ? 'starting' : 'uploading', problem: null });
    upload.start();
  }

  /** The upload has an address: keep it, and ask for the import so that the model shows in the gallery. */
  async #placed(running: Running, file: File): Promise<void> {
    const url = running.upload?.url;
    if (url == null) return;
    running.record ??= {
      url,
      uploadId: uploadIdOf(url),
      userId: running.userId,
      importKey: running.importKey,
      wish: running.wish,
      modelId: null,
      fileName: file.name,
      size: file.size,
      lastModified: file.lastModified,
    };
    this.#update(running, { status: 'uploading' });
    // A check is repeated rather than resumed.
    if (running.item.checkOnly) return;
    keepRecord(running.record);
    if (running.record.modelId === null) await this.#requestImport(running, running.record);
  }

  async #requestImport(running: Running, record: UploadRecord): Promise<void> {
    try {
      record.modelId = await requestImport(record);
      keepRecord(record);
      this.#update(running, { modelId: record.modelId });
      if (running.item.status === 'complete') dropRecord(record.uploadId);
    } catch (error) {
      const problem = ApiProblem.from(error);
      await running.upload?.abort();
      if (!problem.transient) {
        // The model is refused (its name is taken, for instance): its bytes are of no use.
        await terminate(record.url);
        dropRecord(record.uploadId);
        running.record = null;
        running.file = null;
      }
      this.#update(running, { status: 'failed', problem });
    }
  }

  #progressed(running: Running, done: number): void {
    if (running.item.status !== 'uploading' && running.item.status !== 'starting') return;
    this.#update(running, { done });
    const { modelId } = running.item;
    if (modelId !== null) telemetryStore.recordUpload(modelId, done, running.item.size);
  }

  #completed(running: Running): void {
    if (running.item.checkOnly) {
      void this.#check(running);
      return;
    }
    if (running.record?.modelId != null) dropRecord(running.record.uploadId);
    if (running.item.modelId !== null) telemetryStore.finish(running.item.modelId);
    this.#update(running, { status: 'complete', done: running.item.size });
    // From here on, the gallery and the notifications tell how it goes on.
    setTimeout(() => running.item.status === 'complete' && this.#forget(running), COMPLETE_SHOWN_MS);
  }

  async #check(running: Running): Promise<void> {
    const { record } = running;
    if (record === null) return;
    this.#update(running, { status: 'checking', done: running.item.size });
    try {
      const check = await checkImport({ source: 'upload', ...record.wish, uploadId: record.uploadId });
      this.#update(running, { status: 'complete', check });
    } catch (error) {
      this.#update(running, { status: 'failed', problem: ApiProblem.from(error) });
    }
    await terminate(record.url);
    running.record = null;
    running.file = null;
  }

  async #failed(running: Running, error: Error): Promise<void> {
    const problem = await problemOf(error);
    if (problem.status === 401) {
      this.#interrupt(running);
      reportUnauthorized();
      return;
    }
    const gone = problem.status === 404 || problem.status === 410;
    if (gone && running.record !== null) {
      dropRecord(running.record.uploadId);
      running.record = null;
      running.file = null;
    }
    this.#update(running, { status: 'failed', problem: gone ? expired(running.item.fileName) : problem });
  }

  async #restoreOne(record: UploadRecord): Promise<void> {
    const answer = await askOffset(record.url);
    // Unreachable now: offer it again after the next reload.
    if (answer === null) return;
    if (answer.gone) {
      dropRecord(record.uploadId);
      return;
    }
    if (answer.offset === record.size) {
      if (record.modelId === null) await this.#importLate(record);
      else dropRecord(record.uploadId);
      return;
    }
    if (this.#running.some((running) => running.record?.uploadId === record.uploadId)) return;
    this.#running = [
      ...this.#running,
      {
        userId: record.userId,
        interrupted: false,
        item: {
          key: newId(),
          modelId: record.modelId,
          fileName: record.fileName,
          size: record.size,
          done: answer.offset,
          status: 'needs_file',
          problem: null,
          checkOnly: false,
          check: null,
        },
        record,
        upload: null,
        file: null,
        importKey: record.importKey,
        wish: record.wish,
      },
    ];
    this.#publish();
  }

  /** All bytes had arrived, but the page was left before it could ask for the import. */
  async #importLate(record: UploadRecord): Promise<void> {
    try {
      await requestImport(record);
      dropRecord(record.uploadId);
    } catch (error) {
      if (!ApiProblem.from(error).transient) dropRecord(record.uploadId);
    }
  }

  #find(key: string): Running | undefined {
    return this.#running.find(({ item }) => item.key === key);
  }

  #forget(running: Running): void {
    if (running.record !== null && running.item.status !== 'complete') dropRecord(running.record.uploadId);
    if (running.item.modelId !== null) telemetryStore.finish(running.item.modelId);
    this.#running = this.#running.filter((other) => other !== running);
    this.#publish();
  }

  #update(running: Running, change: Partial<UploadItem>): void {
    running.item = { ...running.item, ...change };
    this.#publish();
  }

  #publish(): void {
    this.#items = this.#running.filter(({ userId }) => userId === this.#userId).map(({ item }) => item);
    for (const listener of this.#listeners) listener();
  }
}

/** Asks for the import, however often as if once; returns the model's id. */
async function requestImport(record: UploadRecord): Promise<string> {
  const answer = await request<Accepted>('POST', '/api/imports', {
    body: { source: 'upload', ...record.wish, uploadId: record.uploadId },
    headers: { 'Idempotency-Key': record.importKey },
  });
  rememberPosition(answer.id, answer.position);
  return answer.id;
}

export const uploadManager = new UploadManager();

export function useUploads(): readonly UploadItem[] {
  return useSyncExternalStore(uploadManager.subscribe, () => uploadManager.items);
}
