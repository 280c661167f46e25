import { Link } from '@tanstack/react-router';
import { useQuery } from '@tanstack/react-query';
import { Facts } from '@/components/facts';
import type { ModelCard, ModelDetail } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import { modelQuery } from '@/lib/queries';
import classes from './model-card-panel.module.css';

interface AdapterFactsProps {
  adapter: NonNullable<ModelCard['adapter']>;
  baseModelId: string | null;
}

/** What an adapter changes, and of which base model. */
export function AdapterFacts({ adapter, baseModelId }: AdapterFactsProps) {
  const base = useQuery({ ...modelQuery<ModelDetail>(baseModelId ?? ''), enabled: baseModelId !== null });
  const modules = adapter.targetModules ?? [];
  return (
    <div className={classes.section}>
      <h3 className={classes.heading}>Adapter</h3>
      <Facts
        columns={3}
        facts={[
          {
            label: 'Base model',
            value:
              baseModelId === null ? (
                '—'
              ) : (
                <Link to="/models/$modelId" params={{ modelId: baseModelId }}>
                  {base.data?.name ?? 'Open it'}
                </Link>
              ),
          },
          { label: 'Rank', value: adapter.rank == null ? '—' : formatNumber(adapter.rank) },
          { label: 'Alpha', value: adapter.alpha == null ? '—' : formatNumber(adapter.alpha) },
          { label: 'Target modules', value: modules.length === 0 ? '—' : modules.join(', ') },
          { label: 'Made for', value: adapter.baseArchitecture ?? '—' },
        ]}
      />
    </div>
  );
}
