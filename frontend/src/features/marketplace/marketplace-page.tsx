import { Button, CloseButton, Skeleton, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconSearch } from '@tabler/icons-react';
import { keepPreviousData, queryOptions, useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import { request } from '@/lib/api/client';
import type { MarketplaceItem } from '@/lib/api/types';
import { atLeast } from '@/lib/freshness';
import { keys } from '@/lib/query-keys';
import classes from './marketplace-page.module.css';
import { ModelTile } from './model-tile';

const route = getRouteApi('/shell/marketplace');
const TYPING_PAUSE_MS = 200;

function marketplaceQuery(search: string) {
  return queryOptions({
    queryKey: [...keys.marketplace, search],
    queryFn: ({ signal }) =>
      request<{ items: MarketplaceItem[] }>('GET', '/api/marketplace', { query: { search, atLeast: atLeast() }, signal }),
    placeholderData: keepPreviousData,
  });
}

export default function MarketplacePage() {
  const { search = '' } = route.useSearch();
  const navigate = useNavigate();
  const [text, setText] = useState(search);
  const models = useQuery(marketplaceQuery(search));

  const apply = (value: string) =>
    void navigate({ to: '/marketplace', search: value.trim() === '' ? {} : { search: value.trim() }, replace: true });
  const applyLater = useDebouncedCallback(apply, TYPING_PAUSE_MS);
  const clear = () => {
    setText('');
    apply('');
  };

  return (
    <>
      <PageHeader title="Marketplace" description="Models that are published for everyone who works here." />
      <TextInput
        className={classes.search}
        type="search"
        aria-label="Search the marketplace"
        placeholder="Name or description"
        leftSection={<IconSearch size={17} aria-hidden />}
        rightSection={text !== '' && <CloseButton size="sm" aria-label="Clear the search" onClick={clear} />}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
          applyLater(event.currentTarget.value);
        }}
      />
      {models.error && <ProblemAlert problem={models.error} onRetry={() => void models.refetch()} />}
      {models.isPending && (
        <div className={classes.grid} aria-busy aria-label="Loading the marketplace">
          {Array.from({ length: 6 }, (_, tile) => (
            <Skeleton key={tile} height={216} radius="lg" />
          ))}
        </div>
      )}
      {models.data?.items.length === 0 &&
        (search === '' ? (
          <EmptyState title="Nothing is published yet" action={<LinkButton to="/">Go to the gallery</LinkButton>}>
            Publish a model from the gallery or from its page, and it appears here.
          </EmptyState>
        ) : (
          <EmptyState
            title={`Nothing matches "${search}"`}
            action={
              <Button variant="default" onClick={clear}>
                Clear the search
              </Button>
            }
          >
            The search looks at the names and descriptions of published models.
          </EmptyState>
        ))}
      {models.data && models.data.items.length > 0 && (
        <ul className={classes.grid}>
          {models.data.items.map((item) => (
            <ModelTile key={item.modelId} item={item} />
          ))}
        </ul>
      )}
    </>
  );
}
