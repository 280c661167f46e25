import { Badge } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { LinkButton } from '@/components/link-button';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { MarketplaceItem } from '@/lib/api/types';
import { formatCount } from '@/lib/format';
import classes from './model-tile.module.css';

/** A published model as one finds it on the marketplace. */
export function ModelTile({ item }: { item: MarketplaceItem }) {
  const facts = [
    item.architecture,
    item.parameterCount === null ? null : `${formatCount(item.parameterCount)} parameters`,
    item.license,
  ].filter((fact) => fact !== null && fact !== '');

  return (
    <li className={classes.root}>
      <div className={classes.head}>
        <h2 className={classes.name}>
          <Link to="/models/$modelId" params={{ modelId: item.modelId }} className={classes.link}>
            {item.name}
          </Link>
        </h2>
        <StateBadge state={item.deployed ? 'deployed' : 'stopped'}>{item.deployed ? 'Answers now' : 'Not deployed'}</StateBadge>
      </div>
      <p className={classes.facts}>{facts.join(' · ')}</p>
      <p className={classes.description}>{item.description === '' ? 'No description yet.' : item.description}</p>
      {item.labels.length > 0 && (
        <div className={classes.labels}>
          {item.labels.map((label) => (
            <Badge key={label}>{label}</Badge>
          ))}
        </div>
      )}
      <div className={classes.foot}>
        <span>
          Published <RelativeTime time={item.publishedAt} />
        </span>
        {item.deployed && (
          <LinkButton
            to="/models/$modelId/playground"
            params={{ modelId: item.modelId }}
            variant="light"
            size="compact-sm"
            className={classes.above}
            aria-label={`Try it: ${item.name}`}
          >
            Try it
          </LinkButton>
        )}
      </div>
    </li>
  );
}
