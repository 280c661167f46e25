import { Skeleton } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { ActionButton } from '@/components/action-button';
import { Bytes } from '@/components/bytes';
import { LinkButton } from '@/components/link-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { ShowMore } from '@/components/show-more';
import { RelativeTime } from '@/components/relative-time';
import { StateBadge } from '@/components/state-badge';
import type { ModelDetail, ModelVersion } from '@/lib/api/types';
import { refusal } from '@/lib/actions';
import { useCommand } from '@/lib/commands';
import { actorText } from '@/lib/event-text';
import { SOURCE_NAMES } from '@/lib/origin-words';
import { FailedImport } from './import-panel';
import { VersionComparisonPanel } from './version-comparison';
import { versionsQuery } from './versions';
import classes from './versions-tab.module.css';

/** The versions, which one is deployed from now on, and what differs between two. */
export function VersionsTab({ model }: { model: ModelDetail }) {
  const versions = useInfiniteQuery(versionsQuery(model.id));

  if (versions.error) return <ProblemAlert problem={versions.error} onRetry={() => void versions.refetch()} />;
  if (versions.isPending) return <Skeleton height={300} radius="lg" />;
  const items = versions.data;
  const latest = items.find(({ version }) => version === model.latestVersion);
  const further = latest !== undefined && latest.version !== model.modelVersion;

  return (
    <div className={classes.stack}>
      {further && latest.state === 'import_failed' && <FailedImport model={model} version={latest} />}
      <Panel
        title="Versions"
        description="The current one is deployed from now on; a running deployment keeps its own."
        actions={
          <LinkButton
            to="."
            search={(current) => ({ ...current, import: 'base' as const, versionOf: model.id })}
            resetScroll={false}
            replace
            variant="default"
            leftSection={<IconPlus size={17} aria-hidden />}
          >
            Import a version
          </LinkButton>
        }
        flush
      >
        <ol className={classes.versions}>
          {items.map((version) => (
            <Version key={version.version} model={model} version={version} />
          ))}
        </ol>
        <ShowMore list={versions}>Show earlier versions</ShowMore>
      </Panel>
      {items.length > 1 && <VersionComparisonPanel model={model} versions={items} />}
    </div>
  );
}

function Version({ model, version }: { model: ModelDetail; version: ModelVersion }) {
  const select = useCommand({
    modelId: model.id,
    request: () => ({
      method: 'PUT',
      path: `/api/models/${model.id}/versions/current`,
      body: { version: version.version },
    }),
    accepted: `Version ${version.version} is current`,
  });
  return (
    <li className={classes.version}>
      <div className={classes.words}>
        <div className={classes.line}>
          <span className={classes.number}>{version.version}</span>
          {version.current && <span className={classes.current}>Current</span>}
          {(version.state !== 'ready_to_deploy' || !version.current) && (
            <StateBadge state={version.state}>{version.state === 'ready_to_deploy' ? 'Ready' : undefined}</StateBadge>
          )}
        </div>
        <div className={classes.meta}>
          <span>{SOURCE_NAMES[version.source]}</span>
          {version.totalBytes !== null && (
            <span>
              <Bytes value={version.totalBytes} />
            </span>
          )}
          <span>
            by {actorText(version.createdBy)} <RelativeTime time={version.createdAt} />
          </span>
        </div>
        {version.failure !== null && <div className={classes.failure}>{version.failure.reason}</div>}
      </div>
      {!version.current && (
        <ActionButton
          variant="default"
          size="xs"
          loading={select.isPending}
          disabledReason={
            version.state === 'ready_to_deploy' ? refusal(model.actions, 'edit') : 'Only a validated version can be current.'
          }
          onClick={() => select.mutate()}
        >
          Make current
        </ActionButton>
      )}
    </li>
  );
}
