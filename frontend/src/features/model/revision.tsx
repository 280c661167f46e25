import { Button, Collapse } from '@mantine/core';
import { useId, useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ConfigurationList } from '@/components/configuration-list';
import { DifferenceTable } from '@/components/difference-table';
import { LogLines } from '@/components/log-lines';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge, type AnyState } from '@/components/state-badge';
import type { Deployment, HistoryEntry } from '@/lib/api/types';
import { configurationDifferences } from '@/lib/configuration';
import { actorText } from '@/lib/event-text';
import { formatDuration } from '@/lib/format';
import classes from './revision.module.css';
import { ScalingDecisions } from './scaling-decisions';
import { RollbackDialog } from './rollback-dialog';
import { rollbackRefusal } from './rollback';

const TRIGGERS: Record<HistoryEntry['trigger'], string> = {
  deploy: 'Deployed',
  redeploy: 'Redeployed',
  rollback: 'Rolled back',
  start: 'Started again',
  adapters: 'Made ready for an adapter',
};

interface RevisionProps {
  entry: HistoryEntry;
  previous: HistoryEntry | undefined;
  deployment: Deployment;
}

/** One revision: who asked for it, why, what it changed and what became of it. */
export function Revision({ entry, previous, deployment }: RevisionProps) {
  const [opened, setOpened] = useState(false);
  const [rollingBack, setRollingBack] = useState(false);
  const detailsId = useId();
  const differences = previous ? configurationDifferences(previous.configuration, entry.configuration) : null;
  const serves = deployment.servingRevision === entry.revision;

  return (
    <li className={classes.root}>
      <div className={classes.head}>
        <div className={classes.words}>
          <h3 className={classes.title}>
            Revision {entry.revision}
            <StateBadge state={badgeState(entry, serves)}>{outcomeText(entry, serves)}</StateBadge>
          </h3>
          <p className={classes.who}>
            {TRIGGERS[entry.trigger]} by {actorText(entry.actor)} <RelativeTime time={entry.requestedAt} />
            {entry.seconds !== null && <> · took {formatDuration(entry.seconds)}</>}
          </p>
          {entry.reason && <p className={classes.reason}>{entry.reason}</p>}
          {entry.failure !== null && <p className={classes.failure}>{entry.failure}</p>}
        </div>
        <div className={classes.actions}>
          <Button
            variant="subtle"
            size="xs"
            aria-expanded={opened}
            aria-controls={detailsId}
            aria-label={`${opened ? 'Hide' : detailsText(differences)}, revision ${entry.revision}`}
            onClick={() => setOpened(!opened)}
          >
            {opened ? 'Hide' : detailsText(differences)}
          </Button>
          <ActionButton
            variant="default"
            size="xs"
            aria-label={`Roll back to revision ${entry.revision}`}
            disabledReason={rollbackRefusal(entry, deployment)}
            onClick={() => setRollingBack(true)}
          >
            Roll back
          </ActionButton>
        </div>
      </div>
      {entry.scalings.length > 0 && <ScalingDecisions entry={entry} />}
      <Collapse in={opened} id={detailsId}>
        <div className={classes.details}>
          {entry.logTail && entry.logTail.length > 0 && (
            <LogLines lines={entry.logTail} label={`Last lines of the engine of revision ${entry.revision}`} />
          )}
          {differences !== null && differences.length > 0 && (
            <DifferenceTable
              differences={differences}
              before={`Revision ${entry.revision - 1}`}
              after={`Revision ${entry.revision}`}
            />
          )}
          {differences === null && <ConfigurationList configuration={entry.configuration} />}
          {differences?.length === 0 && (
            <p className={classes.who}>The configuration is that of revision {entry.revision - 1}.</p>
          )}
        </div>
      </Collapse>
      <RollbackDialog
        entry={entry}
        deployment={deployment}
        opened={rollingBack}
        onClose={() => setRollingBack(false)}
      />
    </li>
  );
}

function badgeState(entry: HistoryEntry, serves: boolean): AnyState {
  if (serves) return 'deployed';
  return entry.outcome === 'deployed' && entry.retiredAt !== null ? 'superseded' : entry.outcome;
}

function outcomeText(entry: HistoryEntry, serves: boolean): string {
  if (serves) return 'Serves now';
  switch (entry.outcome) {
    case 'pending':
      return 'In progress';
    case 'failed':
      return 'Failed';
    case 'superseded':
      return 'Superseded';
    case 'deployed':
      return entry.retiredAt === null ? 'Deployed' : 'Retired';
  }
}

function detailsText(differences: unknown[] | null): string {
  if (differences === null) return 'Configuration';
  if (differences.length === 0) return 'No changes';
  return differences.length === 1 ? '1 change' : `${differences.length} changes`;
}
