import { Group, NativeSelect } from '@mantine/core';
import { useState } from 'react';
import type { ModelCard } from '@/lib/api/types';
import { formatBytes, formatNumber } from '@/lib/format';
import { bytesNeeded, contextChoices } from './memory-need';
import classes from './model-card-panel.module.css';

interface MemoryTableProps {
  memory: ModelCard['memory'];
  contextLength: number | null;
}

/** Estimated memory for each type of number, with the cache of one request at the chosen context. */
export function MemoryTable({ memory, contextLength }: MemoryTableProps) {
  const choices = contextChoices(contextLength);
  const [tokens, setTokens] = useState(choices.at(-1) ?? 4096);
  return (
    <div className={classes.section}>
      <Group justify="space-between" align="center" mb={6} gap="xs">
        <h3 className={classes.heading}>Memory needed, estimated</h3>
        <NativeSelect
          aria-label="Context for the estimate"
          size="xs"
          data={choices.map((choice) => ({ value: String(choice), label: `${formatNumber(choice)} tokens` }))}
          value={String(tokens)}
          onChange={(event) => setTokens(Number(event.currentTarget.value))}
        />
      </Group>
      <table className={classes.memory}>
        <thead>
          <tr>
            <th scope="col">Numbers</th>
            <th scope="col">Weights</th>
            <th scope="col">Cache</th>
            <th scope="col">Together</th>
          </tr>
        </thead>
        <tbody>
          {memory.map((need) => {
            const all = bytesNeeded(need, tokens);
            return (
              <tr key={need.dtype}>
                <th scope="row">{need.dtype}</th>
                <td>{formatBytes(need.weightsBytes)}</td>
                <td>{formatBytes(all - need.weightsBytes)}</td>
                <td>{formatBytes(all)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
