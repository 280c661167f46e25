import { ProgressLine } from '@/components/progress-line';
import { useTelemetry } from '@/lib/telemetry';
import type { UploadItem } from './upload-manager';

/** An upload's bar with rate and remaining time, wherever it is shown. */
export function UploadProgress({ item, compact = false }: { item: UploadItem; compact?: boolean }) {
  const measured = useTelemetry(item.modelId ?? '', 'upload');
  return (
    <ProgressLine
      label={`Upload of ${item.fileName}`}
      progress={{
        done: item.done,
        total: item.size,
        unit: 'bytes',
        rate: measured?.rate ?? null,
        remaining: measured?.remaining ?? null,
      }}
      paused={item.status === 'paused' || item.status === 'needs_file' || item.status === 'failed'}
      compact={compact}
    />
  );
}
