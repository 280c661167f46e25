import { Link } from '@tanstack/react-router';
import { Bytes } from '@/components/bytes';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { ModelSummary } from '@/lib/api/types';
import { ModelLabels } from './model-labels';
import { ModelMenu } from './model-menu';
import { ModelStatus } from './model-status';
import classes from './model-table.module.css';
import { modelWords } from './model-words';

interface ModelsProps {
  models: ModelSummary[];
  onEdit: (model: ModelSummary) => void;
}

/** Models as rows of one height, so that nothing moves while states change. */
export function ModelTable({ models, onEdit }: ModelsProps) {
  return (
    <div className={classes.frame}>
      <table className={classes.table}>
        <thead>
          <tr>
            <th scope="col">Model</th>
            <th scope="col" className={classes.status}>
              Status
            </th>
            <th scope="col" className={classes.marketplace}>
              Marketplace
            </th>
            <th scope="col" className={classes.size}>
              Size
            </th>
            <th scope="col" className={classes.added}>
              Added
            </th>
            <th scope="col" className={classes.menu}>
              <span className={classes.hidden}>Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {models.map((model) => (
            <tr key={model.id} className={classes.row}>
              <td>
                <div className={classes.nameLine}>
                  <Link to="/models/$modelId" params={{ modelId: model.id }} className={classes.name}>
                    {model.name}
                  </Link>
                  <ModelLabels labels={model.labels} />
                </div>
                <div className={classes.words}>{modelWords(model)}</div>
              </td>
              <td>
                <ModelStatus model={model} />
              </td>
              <td>{model.publication === 'unpublished' ? <Dash /> : <StateBadge state={model.publication} />}</td>
              <td className={classes.number}>
                <Bytes value={model.sizeBytes} />
              </td>
              <td className={classes.quiet}>
                <RelativeTime time={model.createdAt} />
              </td>
              <td className={classes.menuCell}>
                <ModelMenu model={model} onEdit={() => onEdit(model)} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Dash() {
  return (
    <>
      <span aria-hidden className={classes.quiet}>
        —
      </span>
      <span className={classes.hidden}>Not published</span>
    </>
  );
}
