import { Button, Collapse } from '@mantine/core';
import { useId, useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ConfigurationList } from '@/components/configuration-list';
import { DifferenceTable } from '@/components/difference-table';
import { LogLines } from '@/components/log-lines';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge, type AnyState } from '@/components/state-badge';
import { refusal } from '@/lib/actions';
import type { Deployment, HistoryEntry, ModelDetail } from '@/lib/api/types';
import { fieldLabel, fieldText, type Difference } from '@/lib/configuration';
import { actorText } from '@/lib/event-text';
import { formatDuration } from '@/lib/format';
import { PhaseBar } from './phase-bar';
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
  model: ModelDetail;
  deployment: Deployment;
}

/** One revision: who asked for it, why, what it changed and what became of it. */
export function Revision({ entry, model, deployment }: RevisionProps) {
  const [opened, setOpened] = useState(false);
  const [rollingBack, setRollingBack] = useState(false);
  const detailsId = useId();
  // The first one has none before it.
  const differences = entry.revision === 1 ? null : changedFields(entry);
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
          {entry.restoredRevision !== null && entry.trigger === 'rollback' && (
            <p className={classes.who}>Restores revision {entry.restoredRevision}.</p>
          )}
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
            disabledReason={refusal(model.actions, 'rollback') ?? rollbackRefusal(entry, deployment)}
            onClick={() => setRollingBack(true)}
          >
            Roll back
          </ActionButton>
        </div>
      </div>
      {entry.scalings.length > 0 && <ScalingDecisions entry={entry} />}
      <Collapse in={opened} id={detailsId}>
        <div className={classes.details}>
          <PhaseBar phases={entry.phases} revision={entry.revision} />
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
          <div>
            <Button
              component="a"
              variant="subtle"
              size="compact-sm"
              href={`/api/models/${model.id}/deployment/configuration?revision=${entry.revision}`}
              download={`deployconfig-${entry.revision}.json`}
              aria-label={`Download deployconfig.json of revision ${entry.revision}`}
            >
              deployconfig.json
            </Button>
          </div>
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

function changedFields({ changes }: HistoryEntry): Difference[] {
  return changes.map(({ field, before, after }) => ({
    path: field,
    label: fieldLabel(field),
    before: fieldText(field, before),
    after: fieldText(field, after),
  }));
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
