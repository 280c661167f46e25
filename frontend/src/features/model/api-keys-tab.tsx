import { Button, Skeleton } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { ConfirmButton } from '@/components/confirm-button';
import { EmptyState } from '@/components/empty-state';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ShowMore } from '@/components/show-more';
import { RelativeTime } from '@/components/relative-time';
import type { ApiKeyItem, ModelDetail } from '@/lib/api/types';
import { useCommand } from '@/lib/commands';
import { formatNumber } from '@/lib/format';
import { modelPages } from '@/lib/queries';
import { ApiKeyDialog } from './api-key-dialog';
import classes from './api-keys-tab.module.css';

/** Who may call the model. */
export function ApiKeysTab({ model }: { model: ModelDetail }) {
  const [creating, setCreating] = useState(false);
  const keys = useInfiniteQuery(modelPages<ApiKeyItem>(model.id, 'api-keys'));
  const create = (
    <Button size="xs" leftSection={<IconPlus size={16} aria-hidden />} onClick={() => setCreating(true)}>
      Create API key
    </Button>
  );

  return (
    <>
      <Panel
        title="API keys"
        description="Each key opens this model and no other."
        actions={create}
        flush={!keys.error}
      >
        {keys.error ? (
          <ProblemAlert problem={keys.error} onRetry={() => void keys.refetch()} />
        ) : keys.isPending ? (
          <div className={classes.loading}>
            <Skeleton height={24} mb={16} />
            <Skeleton height={32} mb={12} />
            <Skeleton height={32} />
          </div>
        ) : keys.data.length === 0 ? (
          <EmptyState title="No key yet" action={<Button onClick={() => setCreating(true)}>Create the first key</Button>}>
            An application needs a key to call the endpoint of {model.name}.
          </EmptyState>
        ) : (
          <>
            <ul className={classes.keys}>
              {keys.data.map((key) => (
                <Key key={key.id} modelId={model.id} apiKey={key} />
              ))}
            </ul>
            <ShowMore list={keys}>Show earlier keys</ShowMore>
          </>
        )}
      </Panel>
      <ApiKeyDialog model={model} opened={creating} onClose={() => setCreating(false)} />
    </>
  );
}

function Key({ modelId, apiKey }: { modelId: string; apiKey: ApiKeyItem }) {
  const revoke = useCommand({
    modelId,
    request: () => ({ method: 'DELETE', path: `/api/models/${modelId}/api-keys/${apiKey.id}` }),
    accepted: `Key "${apiKey.name}" revoked`,
  });
  return (
    <li className={classes.key} data-ended={hasEnded(apiKey)}>
      <div className={classes.words}>
        <h3 className={classes.name}>{apiKey.name}</h3>
        <p className={classes.meta}>
          <code>{apiKey.prefix}…</code>
          <span>
            <KeyState apiKey={apiKey} />
          </span>
          <span>
            Created <RelativeTime time={apiKey.createdAt} />
          </span>
          <span>
            {apiKey.requestsPerMinute === null
              ? 'No limit'
              : `At most ${formatNumber(apiKey.requestsPerMinute)} requests a minute`}
          </span>
        </p>
      </div>
      {apiKey.revokedAt === null && (
        <ConfirmButton
          variant="default"
          size="xs"
          aria-label={`Revoke ${apiKey.name}`}
          loading={revoke.isPending}
          confirmation={{
            title: `Revoke the key "${apiKey.name}"?`,
            message: 'Whatever uses it is refused within two seconds. A revoked key cannot be brought back.',
            confirmLabel: 'Revoke key',
            danger: true,
            onConfirm: () => revoke.mutate(),
          }}
        >
          Revoke
        </ConfirmButton>
      )}
    </li>
  );
}

function KeyState({ apiKey }: { apiKey: ApiKeyItem }) {
  if (apiKey.revokedAt !== null) {
    return (
      <>
        Revoked <RelativeTime time={apiKey.revokedAt} />
      </>
    );
  }
  if (apiKey.expiresAt === null) return <>Active</>;
  return (
    <>
      {hasEnded(apiKey) ? 'Expired on' : 'Active until'} <time dateTime={apiKey.expiresAt}>{formatDate(apiKey.expiresAt)}</time>
    </>
  );
}

function formatDate(iso: string): string {
  return new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium' }).format(new Date(iso));
}

function hasEnded(apiKey: ApiKeyItem): boolean {
  return apiKey.revokedAt !== null || (apiKey.expiresAt !== null && Date.parse(apiKey.expiresAt) <= Date.now());
}
