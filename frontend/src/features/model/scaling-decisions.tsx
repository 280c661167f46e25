import { Button, Table } from '@mantine/core';
import { useId, useState } from 'react';
import { RelativeTime } from '@/components/relative-time';
import type { HistoryEntry } from '@/lib/api/types';
import classes from './scaling-decisions.module.css';

const SHOWN = 3;

/** What the autoscaler decided about a revision, and from which load, newest first. */
export function ScalingDecisions({ entry }: { entry: HistoryEntry }) {
  const [all, setAll] = useState(false);
  const tableId = useId();
  const label = `Scaling of revision ${entry.revision}`;
  const more = entry.scalings.length - SHOWN;

  return (
    <div className={classes.root}>
      <Table.ScrollContainer minWidth={480} type="native" tabIndex={0} role="region" aria-label={label}>
        <Table id={tableId} className={classes.table} verticalSpacing={6}>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Scaled</Table.Th>
              <Table.Th>Replicas</Table.Th>
              <Table.Th>Running</Table.Th>
              <Table.Th>Waiting</Table.Th>
              <Table.Th>Why</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {entry.scalings.slice(0, all ? undefined : SHOWN).map((decision) => (
              <Table.Tr key={decision.decidedAt}>
                <Table.Td>
                  <RelativeTime time={decision.decidedAt} />
                </Table.Td>
                <Table.Td>
                  {decision.fromReplicas} → {decision.toReplicas}
                </Table.Td>
                <Table.Td>{decision.running}</Table.Td>
                <Table.Td>{decision.waiting}</Table.Td>
                <Table.Td className={classes.reason}>{decision.reason}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
      {more > 0 && (
        <Button variant="subtle" size="xs" aria-expanded={all} aria-controls={tableId} onClick={() => setAll(!all)}>
          {all ? 'Show the newest only' : `Show ${more} more`}
        </Button>
      )}
    </div>
  );
}
