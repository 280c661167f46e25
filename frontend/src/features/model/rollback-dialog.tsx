import { Button, Group, Modal, Textarea } from '@mantine/core';
import { useState } from 'react';
import { DifferenceTable } from '@/components/difference-table';
import { ProblemAlert } from '@/components/problem-alert';
import type { Deployment, HistoryEntry } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { configurationDifferences } from '@/lib/configuration';
import classes from './rollback-dialog.module.css';

interface RollbackDialogProps {
  entry: HistoryEntry;
  deployment: Deployment;
  opened: boolean;
  onClose: () => void;
}

/** Asks why, and shows what going back changes. */
export function RollbackDialog({ entry, deployment, opened, onClose }: RollbackDialogProps) {
  const [reason, setReason] = useState('');
  const [submitted, setSubmitted] = useState(false);
  const rollback = useCommand<string>({
    modelId: deployment.modelId,
    request: (why) => ({
      method: 'POST',
      path: `/api/models/${deployment.modelId}/deployment/rollback`,
      body: { revision: entry.revision, reason: why },
      ifMatch: deployment.version,
    }),
    accepted: `Rolling back to revision ${entry.revision}`,
    problems: 'inline',
    onAccepted: () => {
      setReason('');
      setSubmitted(false);
      onClose();
    },
  });
  const differences = configurationDifferences(deployment.configuration, entry.configuration);
  const missing = submitted && reason.trim() === '' ? 'Say why, in a few words. The history keeps it.' : null;

  return (
    <Modal opened={opened} onClose={onClose} size="lg" title={`Roll back to revision ${entry.revision}?`}>
      <form
        className={classes.form}
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          setSubmitted(true);
          if (reason.trim() !== '') rollback.mutate(reason.trim());
        }}
      >
        <p className={classes.text}>
          A new revision with that configuration is brought up
          {deployment.servingRevision === null ? '.' : ` beside revision ${deployment.servingRevision}, which serves until the new one answers.`}
        </p>
        {differences.length > 0 && (
          <DifferenceTable
            differences={differences}
            before={`Revision ${deployment.desiredRevision ?? '—'}`}
            after={`Revision ${entry.revision}`}
          />
        )}
        <Textarea
          data-autofocus
          label="Reason"
          autosize
          minRows={2}
          value={reason}
          error={missing ?? rollback.error?.fieldErrors['reason']}
          onChange={(event) => setReason(event.currentTarget.value)}
        />
        {rollback.error?.fieldErrors['reason'] === undefined && <ProblemAlert problem={rollback.error} />}
        <Group justify="flex-end" gap="sm">
          <Button variant="default" onClick={onClose}>
            Keep as it is
          </Button>
          <Button type="submit" loading={rollback.isPending}>
            Roll back
          </Button>
        </Group>
      </form>
    </Modal>
  );
}
