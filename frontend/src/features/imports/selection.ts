import type { OfferedModel } from '@/lib/api/types';

/** The most models that one batch takes. */
export const MOST_MODELS = 1000;

/** Why a row cannot be imported; null when it can. */
export function rowRefusal(row: OfferedModel): string | null {
  if (row.existingModelId !== null) return 'Already in the gallery';
  return row.problem;
}

/** Rows whose name, address or description has every word of the search. */
export function matchingRows(rows: readonly OfferedModel[], search: string): OfferedModel[] {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return [...rows];
  return rows.filter((row) => {
    const text = `${row.name} ${row.address} ${row.description}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

/** The selection with every importable one of these rows in it, as far as a batch takes them. */
export function withRows(selected: ReadonlySet<string>, rows: readonly OfferedModel[]): Set<string> {
  const result = new Set(selected);
  for (const row of rows) {
    if (result.size >= MOST_MODELS) break;
    if (rowRefusal(row) === null) result.add(row.name);
  }
  return result;
}

export function withoutRows(selected: ReadonlySet<string>, rows: readonly OfferedModel[]): Set<string> {
  const result = new Set(selected);
  for (const { name } of rows) result.delete(name);
  return result;
}
