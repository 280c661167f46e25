/** What the import of an upload asks for, besides the upload itself. */
export interface UploadWish {
  kind: 'base' | 'adapter';
  baseModelId?: string;
  /** The model of which it becomes a further version. */
  modelId?: string;
  version?: string;
}

/**
 * What must survive a reload to go on with an upload: where it is, and which file it was.
 * The file itself cannot be kept by a page, so the person chooses it again.
 */
export interface UploadRecord {
  /** Address of the upload, as the server gave it. */
  url: string;
  uploadId: string;
  /** Who uploads: another person at the same browser has nothing to do with it. */
  userId: string;
  /** Idempotency-Key of the import, so that asking for it again after a reload does not make a second model. */
  importKey: string;
  wish: UploadWish;
  modelId: string | null;
  fileName: string;
  size: number;
  lastModified: number;
}

const STORAGE_KEY = 'loggia.uploads';

export function loadRecords(): UploadRecord[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '[]');
    return Array.isArray(stored) ? stored.filter(isRecord) : [];
  } catch {
    return [];
  }
}

export function keepRecord(record: UploadRecord): void {
  save([...loadRecords().filter(({ uploadId }) => uploadId !== record.uploadId), record]);
}

export function dropRecord(uploadId: string): void {
  save(loadRecords().filter((record) => record.uploadId !== uploadId));
}

/** Null when this is the file that the upload began with; else how it differs. */
export function differenceOf(record: UploadRecord, file: { name: string; size: number; lastModified: number }): string | null {
  if (file.name !== record.fileName) return `This is “${file.name}”; the upload began with “${record.fileName}”.`;
  if (file.size !== record.size) return 'This file has another size than the one the upload began with.';
  if (file.lastModified !== record.lastModified) return 'This file was changed after the upload began.';
  return null;
}

export function uploadIdOf(url: string): string {
  return new URL(url, window.location.href).pathname.split('/').filter(Boolean).at(-1) ?? '';
}

function save(records: UploadRecord[]): void {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(records));
  } catch {
    // Storage is full or forbidden: the upload goes on, it only cannot resume after a reload.
  }
}

function isRecord(value: unknown): value is UploadRecord {
  if (typeof value !== 'object' || value === null) return false;
  const record = value as Record<string, unknown>;
  return (
    ['url', 'uploadId', 'userId', 'importKey', 'fileName'].every((key) => typeof record[key] === 'string') &&
    typeof record['size'] === 'number' &&
    typeof record['wish'] === 'object' &&
    record['wish'] !== null &&
    typeof record['lastModified'] === 'number'
  );
}
