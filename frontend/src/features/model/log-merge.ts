/** Stored log lines followed by those that came live, without repeating where the two overlap. */
export function mergeLog(stored: readonly string[], live: readonly string[]): readonly string[] {
  if (live.length === 0) return stored;
  for (let start = Math.max(0, stored.length - live.length); start < stored.length; start += 1) {
    if (stored.slice(start).every((line, index) => line === live[index])) {
      return [...stored.slice(0, start), ...live];
    }
  }
  return [...stored, ...live];
}
