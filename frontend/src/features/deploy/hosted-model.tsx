import { Group, Select } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ProblemAlert } from '@/components/problem-alert';
import { request } from '@/lib/api/client';
import type { ModelPage, ModelSummary } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { keys } from '@/lib/query-keys';
import classes from './steps.module.css';

const SHOWN = 50;

/** A model of the gallery, chosen from those that are ready. */
export function HostedModel() {
  const navigate = useNavigate();
  const [search, setSearch] = useState('');
  const [wanted] = useDebouncedValue(search, 200);
  const [chosen, setChosen] = useState<ModelSummary | null>(null);
  const models = useQuery({
    queryKey: [...keys.models, 'to-deploy', wanted],
    queryFn: ({ signal }) =>
      request<ModelPage>('GET', '/api/models', { query: { state: 'ready_to_deploy', search: wanted, limit: SHOWN }, signal }),
    placeholderData: (before) => before,
  });
  const items = models.data?.items ?? [];
  // What is searched for next may leave it out of the list; it stays chosen.
  const model = chosen && (items.find(({ id }) => id === chosen.id) ?? chosen);
  const reason = model && refusal(model.actions, model.deploymentState === null ? 'deploy' : 'redeploy');

  return (
    <div className={classes.inset}>
      <ProblemAlert problem={models.error} mb="sm" />
      <Select
        label="Model"
        description="Models that are ready to deploy, the newest first. Type to search."
        placeholder="Choose a model"
        searchable
        maw={460}
        nothingFoundMessage={models.isPending ? 'Loading …' : 'No model that is ready to deploy has this in its name.'}
        data={items.map((item) => ({ value: item.id, label: labelOf(item) }))}
        filter={({ options }) => options}
        value={model?.id ?? null}
        error={reason}
        onChange={(id) => setChosen(items.find((item) => item.id === id) ?? null)}
        onSearchChange={(text) => {
          // A choice writes its label into the field, which nobody has typed.
          setSearch(model !== null && text === labelOf(model) ? '' : text.slice(0, 100));
        }}
      />
      <Group mt="md">
        <ActionButton
          disabledReason={model === null ? 'Choose a model first.' : reason}
          onClick={() => {
            if (model) void navigate({ to: '/models/$modelId/deploy', params: { modelId: model.id } });
          }}
        >
          Next
        </ActionButton>
      </Group>
    </div>
  );
}

function labelOf({ name, deploymentState }: ModelSummary): string {
  return deploymentState === null ? name : `${name} (has been deployed)`;
}
