import { Button, Group, Modal, Stack, Text, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { ProblemAlert } from '@/components/problem-alert';
import type { Server } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { keys } from '@/lib/query-keys';

interface DrainDialogProps {
  server: Server;
  onClose: () => void;
}

/** Says what draining does, and asks why. */
export function DrainDialog({ server, onClose }: DrainDialogProps) {
  const queryClient = useQueryClient();
  const [reason, setReason] = useState('');
  const drain = useCommand({
    request: () => ({ method: 'POST', path: `/api/servers/${encodeURIComponent(server.name)}/drain`, body: { reason: reason.trim() } }),
    accepted: `${server.name} is being drained`,
    problems: 'inline',
    onAccepted: () => {
      void queryClient.invalidateQueries({ queryKey: keys.servers });
      onClose();
    },
  });
  const pool = server.registration?.pool ?? server.name;
  return (
    <Modal opened onClose={onClose} title={`Drain ${server.name}?`}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          drain.mutate();
        }}
      >
        <Stack>
          <Text size="sm">
            It gets no new replicas. Those that it has finish their requests and go as soon as others answer in their place, on
            the other servers of {pool}. Where there is no room, they stay.
          </Text>
          <TextInput
            label="Reason"
            description="Stands in the history."
            maxLength={500}
            data-autofocus
            value={reason}
            onChange={(event) => setReason(event.currentTarget.value)}
          />
          <ProblemAlert problem={drain.error} />
          <Group justify="flex-end" gap="sm">
            <Button variant="default" onClick={onClose}>
              Keep as it is
            </Button>
            <Button type="submit" loading={drain.isPending}>
              Drain the server
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
