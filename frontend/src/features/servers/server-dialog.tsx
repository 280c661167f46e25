import { Button, Checkbox, Group, Modal, NativeSelect, NumberInput, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconCircleCheck } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { ProblemAlert } from '@/components/problem-alert';
import { request, type ApiProblem } from '@/lib/api/client';
import type { Server, ServerTrial } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { keys } from '@/lib/query-keys';
import { ENGINES } from './servers';
import classes from './servers-page.module.css';

type Engine = keyof typeof ENGINES;

interface ServerForm {
  name: string;
  address: string;
  engine: Engine;
  grpcAddress: string;
  pool: string;
  deployments: number | '';
  memoryGib: number | '';
  gpuCount: number | '';
  gpuName: string;
  gpuMemoryGib: number | '';
  credentials: string;
  replaceCredentials: boolean;
}

interface ServerDialogProps {
  /** The server to change; null registers a new one. */
  server: Server | null;
  onClose: () => void;
}

/** A server may be slow to answer. */
const TRIAL_TIMEOUT_MS = 60_000;

/** Registers a server on which an engine runs already, or describes one anew. */
export function ServerDialog({ server, onClose }: ServerDialogProps) {
  const queryClient = useQueryClient();
  const registration = server?.registration ?? null;
  const form = useForm<ServerForm>({
    initialValues: initial(server),
    validate: {
      name: (name) => (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name.trim()) ? null : 'Use 1 to 64 letters, digits, dots, hyphens and underscores.'),
      address: (address) => (/^https?:\/\/[^/]/.test(address.trim()) ? null : 'Give an address such as http://gpu-7:8000.'),
      deployments: (count) => (count === '' ? 'Say how many deployments it serves at a time.' : null),
    },
  });
  const trial = useMutation<ServerTrial, ApiProblem, ServerForm>({
    mutationFn: (values) => request<ServerTrial>('POST', '/api/servers/test', { body: newServer(values), timeout: TRIAL_TIMEOUT_MS }),
  });
  const save = useCommand<ServerForm>({
    request: (values) =>
      server === null
        ? { method: 'POST', path: '/api/servers', body: newServer(values) }
        : { method: 'PUT', path: `/api/servers/${encodeURIComponent(server.name)}`, body: changed(values) },
    accepted: (_, { name }) => (server === null ? `${name.trim()} is registered` : `${server.name} is changed`),
    problems: 'inline',
    onAccepted: () => {
      void queryClient.invalidateQueries({ queryKey: keys.servers });
      onClose();
    },
  });
  const { engine, replaceCredentials } = form.values;
  const asksForKey = registration === null || replaceCredentials;

  return (
    <Modal opened onClose={onClose} title={server === null ? 'Register server' : `Change ${server.name}`} size={640}>
      <form onSubmit={form.onSubmit((values) => save.mutate(values))} noValidate autoComplete="off">
        <Stack>
          <div className={classes.fields}>
            <TextInput label="Name" description="Deployments use it by this name." disabled={server !== null} data-autofocus {...form.getInputProps('name')} />
            <NativeSelect
              label="Engine"
              description="What runs there."
              disabled={server !== null}
              data={Object.entries(ENGINES).map(([value, label]) => ({ value, label }))}
              {...form.getInputProps('engine')}
            />
            <TextInput label="Address" description="As the gateway reaches it." placeholder="http://gpu-7:8000" {...form.getInputProps('address')} />
            {engine === 'triton' && (
              <TextInput label="gRPC address" description="Empty: port 8001 of the same host." placeholder="gpu-7:8001" {...form.getInputProps('grpcAddress')} />
            )}
            <TextInput label="Pool" description="Servers of one pool replace each other. Empty: its own name." {...form.getInputProps('pool')} />
            <NumberInput label="Deployments at a time" description="More wait, or are refused." min={1} max={1000} allowDecimal={false} {...form.getInputProps('deployments')} />
            <NumberInput label="Memory" description="Empty: not known." suffix=" GiB" min={0.1} {...form.getInputProps('memoryGib')} />
            <NumberInput label="GPUs" description="How many." min={0} max={1024} allowDecimal={false} {...form.getInputProps('gpuCount')} />
            <TextInput label="Kind of GPU" description="Such as H200." {...form.getInputProps('gpuName')} />
            <NumberInput label="Memory of each GPU" description="Empty: not known." suffix=" GiB" min={0.1} {...form.getInputProps('gpuMemoryGib')} />
          </div>
          {registration !== null && (
            <Checkbox
              label={registration.hasCredentials ? 'Replace the stored key' : 'Give it a key'}
              {...form.getInputProps('replaceCredentials', { type: 'checkbox' })}
            />
          )}
          {asksForKey && (
            <PasswordInput
              label="Key"
              description="Sent as a bearer token. Kept encrypted, and never shown again. Empty: the server wants none."
              autoComplete="new-password"
              visibilityToggleButtonProps={{ 'aria-label': 'Show or hide what is typed' }}
              {...form.getInputProps('credentials')}
            />
          )}
          <div role="status">
            {trial.data !== undefined && (
              <Text size="sm" className={classes.tried}>
                <IconCircleCheck size={18} aria-hidden /> {said(trial.data, engine)}
              </Text>
            )}
          </div>
          <ProblemAlert problem={save.error ?? trial.error} />
          <Group justify="flex-end" gap="sm">
            <Button variant="default" onClick={onClose}>
              Cancel
            </Button>
            {server === null && (
              <Button
                variant="default"
                loading={trial.isPending}
                onClick={() => {
                  save.reset();
                  if (!form.validate().hasErrors) trial.mutate(form.values);
                }}
              >
                Test
              </Button>
            )}
            <Button type="submit" loading={save.isPending}>
              {server === null ? 'Register' : 'Save'}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

function initial(server: Server | null): ServerForm {
  const registration = server?.registration ?? null;
  const capacity = registration?.capacity;
  return {
    name: server?.name ?? '',
    address: registration?.address ?? '',
    engine: registration?.engine ?? 'vllm',
    grpcAddress: registration?.grpcAddress ?? '',
    pool: registration === null || registration.pool === server?.name ? '' : registration.pool,
    deployments: capacity?.deployments ?? 1,
    memoryGib: capacity?.memoryGib ?? '',
    gpuCount: capacity?.gpuCount ?? 0,
    gpuName: capacity?.gpuName ?? '',
    gpuMemoryGib: capacity?.gpuMemoryGib ?? '',
    credentials: '',
    replaceCredentials: false,
  };
}

function described({ address, engine, grpcAddress, pool, deployments, memoryGib, gpuCount, gpuName, gpuMemoryGib, credentials }: ServerForm) {
  return {
    address: address.trim(),
    engine,
    pool: pool.trim(),
    grpcAddress: engine === 'triton' ? grpcAddress.trim() : '',
    capacity: {
      deployments: deployments === '' ? 1 : deployments,
      memoryGib: memoryGib === '' ? null : memoryGib,
      gpuCount: gpuCount === '' ? 0 : gpuCount,
      gpuName: gpuName.trim(),
      gpuMemoryGib: gpuMemoryGib === '' ? null : gpuMemoryGib,
    },
    credentials: credentials === '' ? null : credentials,
  };
}

function newServer(values: ServerForm) {
  return { ...described(values), name: values.name.trim() };
}

function changed(values: ServerForm) {
  return { ...described(values), replaceCredentials: values.replaceCredentials };
}

function said({ engineVersion, models, loadsModels }: ServerTrial, engine: Engine): string {
  const answers = `${ENGINES[engine]} ${engineVersion} answers.`;
  if (engine === 'triton') return `${answers} ${loadsModels ? 'It can load models on demand.' : 'It does not load models on demand.'}`;
  return models.length === 0 ? `${answers} It serves no model.` : `${answers} It serves ${models.join(', ')}.`;
}
