import type { VersionComparison } from '@/lib/api/types';
import type { Difference } from '@/lib/configuration';
import { spellOut } from '@/lib/event-text';
import { formatBytes } from '@/lib/format';

const SHOWN_TEXT = 200;

/** Fields of the card as a person reads them; what is not set on a side is null there. */
export function cardDifferences(fields: VersionComparison['card']): Difference[] {
  return fields.map(({ field, before, after }) => ({
    path: field,
    label: spellOut(field),
    before: shown(field, before),
    after: shown(field, after),
  }));
}

/** Files with size and the beginning of their digest, which tells two of one size apart. */
export function fileDifferences(files: VersionComparison['files']): Difference[] {
  const words = (file: VersionComparison['files'][number]['before']) =>
    file === null ? null : `${formatBytes(file.sizeBytes)} · ${file.sha256.slice(0, 12)}`;
  return files.map(({ path, before, after }) => ({ path, label: path, before: words(before), after: words(after) }));
}

function shown(field: string, value: unknown): string | null {
  if (value === null || value === undefined || value === '') return null;
  if (Array.isArray(value) && value.length === 0) return null;
  if (typeof value === 'number') return field.endsWith('Bytes') ? formatBytes(value) : new Intl.NumberFormat('en').format(value);
  if (typeof value === 'boolean') return value ? 'Yes' : 'No';
  if (typeof value === 'string') return value.length > SHOWN_TEXT ? `${value.slice(0, SHOWN_TEXT)}…` : value;
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value.join(', ');
  return JSON.stringify(value);
}
