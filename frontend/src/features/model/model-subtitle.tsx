import { Bytes } from '@/components/bytes';
import { RelativeTime } from '@/components/relative-time';
import type { ModelDetail } from '@/lib/api/types';
import { formatCount, replicasText } from '@/lib/format';
import classes from './model-subtitle.module.css';

/** One line that tells what the model is. */
export function ModelSubtitle({ model }: { model: ModelDetail }) {
  return (
    <span className={classes.root}>
      <span>Version {model.modelVersion}</span>
      <span>{model.kind === 'base' ? 'Base model' : 'Adapter'}</span>
      {model.architecture !== null && <span>{model.architecture}</span>}
      {model.parameterCount !== null && <span>{formatCount(model.parameterCount)} parameters</span>}
      {model.sizeBytes !== null && model.sizeBytes > 0 && (
        <span>
          <Bytes value={model.sizeBytes} />
        </span>
      )}
      {model.replicas !== null && <span>{replicasText(model.replicas)}</span>}
      <span>
        Added <RelativeTime time={model.createdAt} />
      </span>
    </span>
  );
}
