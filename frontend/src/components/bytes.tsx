import { formatBytes, formatNumber } from '@/lib/format';

/** A size in readable units, exact on hover; a dash when not known yet. */
export function Bytes({ value }: { value: number | null | undefined }) {
  if (value === null || value === undefined) return <>—</>;
  return <span title={`${formatNumber(value)} bytes`}>{formatBytes(value)}</span>;
}
