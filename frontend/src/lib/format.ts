const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** 1536000 → "1.5 MB" (decimal units, as disks and transfer rates use them). */
export function formatBytes(bytes: number): string {
  let value = Math.abs(bytes);
  let unit = 0;
  while (value >= 999.5 && unit < BYTE_UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  const amount = new Intl.NumberFormat('en', { maximumFractionDigits: digits }).format(Math.sign(bytes) * value);
  return `${amount} ${BYTE_UNITS[unit] ?? 'B'}`;
}

/** 7241732096 → "7.2B", as model cards write it. */
export function formatCount(count: number): string {
  return new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 }).format(count);
}

export function formatNumber(value: number): string {
  return new Intl.NumberFormat('en').format(value);
}

/** 3725 → "1 h 2 min"; 59 → "59 s". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 === 0 ? `${minutes} min` : `${minutes} min ${whole % 60} s`;
  return minutes % 60 === 0 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Of so many replicas wanted, how many answer: "1 of 2 replicas"; "No replicas" at zero. */
export function replicasText({ ready, wanted }: { ready: number; wanted: number }): string {
  if (wanted === 0 && ready === 0) return 'No replicas';
  return `${ready} of ${wanted} ${wanted === 1 ? 'replica' : 'replicas'}`;
}

export function formatDateTime(iso: string): string {
  return new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(iso));
}

const RELATIVE_STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_536_000],
  ['month', 2_592_000],
  ['week', 604_800],
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

export function formatRelative(iso: string, now: number): string {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
  for (const [unit, size] of RELATIVE_STEPS) {
    if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit);
  }
  return Math.abs(seconds) < 10 ? 'just now' : format.format(Math.trunc(seconds), 'second');
}
