import { Select } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { ConnectionKind } from '@/lib/api/types';
import { CONNECTION_KINDS, connectionsQuery } from '@/lib/connections';

interface ConnectionSelectProps {
  kinds: readonly ConnectionKind[];
  value: string | null;
  onChange: (name: string | null) => void;
}

/** The saved connection with whose secret a source is asked; none for what is public. */
export function ConnectionSelect({ kinds, value, onChange }: ConnectionSelectProps) {
  const connections = useQuery(connectionsQuery);
  const usable = connections.data?.items.filter(({ kind }) => kinds.includes(kind)) ?? [];
  return (
    <Select
      label="Connection"
      placeholder="None: public"
      clearable
      searchable={usable.length > 8}
      clearButtonProps={{ 'aria-label': 'Use no connection' }}
      data={usable.map(({ name, kind }) => ({
        value: name,
        label: kinds.length > 1 ? `${name} · ${CONNECTION_KINDS[kind]}` : name,
      }))}
      nothingFoundMessage="No connection of this name"
      value={value}
      onChange={onChange}
      {...(connections.isSuccess &&
        usable.length === 0 && {
          disabled: true,
          placeholder: 'None is saved',
          description: (
            <>
              Save one in the <Link to="/settings">settings</Link>.
            </>
          ),
          inputWrapperOrder: ['label', 'input', 'description'],
        })}
    />
  );
}
