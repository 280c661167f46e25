import { Radio, ScrollArea, Skeleton, TextInput } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { ProblemAlert } from '@/components/problem-alert';
import { request } from '@/lib/api/client';
import type { ModelPage, ModelSummary } from '@/lib/api/types';
import { formatCount } from '@/lib/format';
import { keys } from '@/lib/query-keys';
import classes from './base-model-picker.module.css';

export type BaseModel = Pick<ModelSummary, 'id'>;

interface BaseModelPickerProps {
  value: BaseModel | null;
  onChange: (base: BaseModel) => void;
}

const SHOWN = 50;
const SEARCH_DELAY_MS = 250;

/** The base models that are ready, to choose the one that an adapter was trained on. */
export function BaseModelPicker({ value, onChange }: BaseModelPickerProps) {
  const [text, setText] = useState('');
  const [search] = useDebouncedValue(text.trim(), SEARCH_DELAY_MS);
  const models = useQuery({
    queryKey: [...keys.models, 'bases', search],
    queryFn: ({ signal }) =>
      request<ModelPage>('GET', '/api/models', {
        query: { kind: 'base', state: 'ready_to_deploy', search, sort: 'name', limit: SHOWN },
        signal,
      }),
    placeholderData: keepPreviousData,
  });
  const items = models.data?.items ?? [];

  return (
    <div>
      <TextInput
        type="search"
        label="Base model"
        description="The adapter is checked against its files."
        placeholder="Search by name"
        leftSection={<IconSearch size={16} aria-hidden />}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <ProblemAlert problem={models.error} onRetry={() => void models.refetch()} mt="sm" />
      <ScrollArea.Autosize mah={190} mt={8} type="auto" className={classes.frame} viewportProps={{ tabIndex: -1 }}>
        {models.isPending ? (
          <Skeleton height={44} />
        ) : items.length === 0 ? (
          <p className={classes.none}>
            {search === '' ? 'No base model is ready yet. Import one first.' : 'No ready base model has this name.'}
          </p>
        ) : (
          <Radio.Group
            aria-label="Base model"
            value={value?.id ?? null}
            onChange={(id) => {
              const chosen = items.find((model) => model.id === id);
              if (chosen) onChange({ id: chosen.id });
            }}
          >
            {items.map((model) => (
              <Radio
                key={model.id}
                value={model.id}
                label={model.name}
                description={facts(model)}
                classNames={{ root: classes.item, body: classes.body, labelWrapper: classes.words }}
              />
            ))}
          </Radio.Group>
        )}
      </ScrollArea.Autosize>
      {(models.data?.total ?? 0) > items.length && (
        <p className={classes.more}>The first {items.length} are shown. Search for another one by its name.</p>
      )}
    </div>
  );
}

function facts(model: ModelSummary): string {
  return [
    model.architecture,
    model.parameterCount === null ? null : `${formatCount(model.parameterCount)} parameters`,
    `version ${model.modelVersion}`,
  ]
    .filter((fact) => fact !== null)
    .join(' · ');
}
