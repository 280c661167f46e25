import { Link } from '@tanstack/react-router';
import { Bytes } from '@/components/bytes';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { ModelSummary } from '@/lib/api/types';
import classes from './model-cards.module.css';
import { ModelLabels } from './model-labels';
import { ModelMenu } from './model-menu';
import { ModelStatus } from './model-status';
import { modelWords } from './model-words';

interface ModelsProps {
  models: ModelSummary[];
  onEdit: (model: ModelSummary) => void;
}

/** Models as cards, where a table has no room. */
export function ModelCards({ models, onEdit }: ModelsProps) {
  return (
    <ul className={classes.list}>
      {models.map((model) => (
        <li key={model.id} className={classes.card}>
          <div className={classes.head}>
            <Link to="/models/$modelId" params={{ modelId: model.id }} className={classes.name}>
              {model.name}
            </Link>
            <div className={classes.menu}>
              <ModelMenu model={model} onEdit={() => onEdit(model)} />
            </div>
          </div>
          <p className={classes.words}>{modelWords(model)}</p>
          <div className={classes.status}>
            <ModelStatus model={model} />
            {model.publication !== 'unpublished' && <StateBadge state={model.publication} />}
          </div>
          <div className={classes.foot}>
            <Bytes value={model.sizeBytes} />
            <span aria-hidden>·</span>
            <RelativeTime time={model.createdAt} />
            <ModelLabels labels={model.labels} />
          </div>
        </li>
      ))}
    </ul>
  );
}
