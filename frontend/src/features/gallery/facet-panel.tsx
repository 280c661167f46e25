import { UnstyledButton } from '@mantine/core';
import { IconX } from '@tabler/icons-react';
import { stateText, type AnyState } from '@/components/state-badge';
import type { Facets } from '@/lib/api/types';
import { formatNumber } from '@/lib/format';
import classes from './facet-panel.module.css';
import { FILTERS, type Filter, type GallerySearch } from './gallery-query';

const NAMES: Record<Filter, string> = {
  state: 'Import',
  deploymentState: 'Deployment',
  publication: 'Marketplace',
  kind: 'Kind',
  label: 'Labels',
};
const KINDS: Record<string, string> = { base: 'Base model', adapter: 'Adapter' };

/** Values in the order of a model's life; anything else by how often it occurs. */
const ORDER: Partial<Record<Filter, string[]>> = {
  state: ['importing', 'validating', 'ready_to_deploy', 'import_failed'],
  deploymentState: ['none', 'optimizing', 'deploying', 'deployed', 'failed', 'stopping', 'stopped'],
  publication: ['published', 'unpublished', 'withdrawn'],
  kind: ['base', 'adapter'],
};

interface FacetPanelProps {
  facets: Facets | null | undefined;
  selected: GallerySearch;
  onSelect: (change: GallerySearch) => void;
}

/** Filters with how many models each would show. */
export function FacetPanel({ facets, selected, onSelect }: FacetPanelProps) {
  return (
    <>
      {FILTERS.map((filter) => {
        const values = valuesOf(filter, facets?.[filter] ?? {}, selected[filter]);
        if (values.length === 0) return null;
        return (
          <section key={filter} className={classes.facet} aria-label={NAMES[filter]}>
            <h2 className={classes.name}>{NAMES[filter]}</h2>
            <ul className={classes.values}>
              {values.map(([value, count]) => {
                const chosen = selected[filter] === value;
                return (
                  <li key={value}>
                    <UnstyledButton
                      className={classes.value}
                      aria-pressed={chosen}
                      onClick={() => onSelect({ [filter]: chosen ? undefined : value })}
                    >
                      <span className={classes.text}>{textOf(filter, value)}</span>
                      {chosen ? (
                        <IconX size={15} aria-hidden />
                      ) : (
                        <span className={classes.count}>{formatNumber(count)}</span>
                      )}
                    </UnstyledButton>
                  </li>
                );
              })}
            </ul>
          </section>
        );
      })}
    </>
  );
}

function valuesOf(filter: Filter, counts: Record<string, number>, chosen: string | undefined): [string, number][] {
  const present = Object.entries(counts).filter(([value, count]) => count > 0 || value === chosen);
  if (chosen !== undefined && !(chosen in counts)) present.push([chosen, 0]);
  const order = ORDER[filter];
  return present.sort(([a, countA], [b, countB]) =>
    order === undefined ? countB - countA || a.localeCompare(b) : order.indexOf(a) - order.indexOf(b),
  );
}

function textOf(filter: Filter, value: string): string {
  if (filter === 'label') return value;
  if (filter === 'kind') return KINDS[value] ?? value;
  if (value === 'none') return 'Not deployed';
  return ORDER[filter]?.includes(value) ? stateText(value as AnyState) : value;
}
