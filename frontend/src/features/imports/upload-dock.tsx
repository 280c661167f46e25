import { UnstyledButton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconChevronDown, IconChevronUp } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { useEffect } from 'react';
import { formatBytes } from '@/lib/format';
import { UploadActions } from './upload-actions';
import classes from './upload-dock.module.css';
import { uploadManager, useUploads, type UploadItem } from './upload-manager';
import { UploadProgress } from './upload-progress';

/** The uploads of a person on this page, in a corner, whatever else is looked at. */
export function UploadDock({ userId }: { userId: string }) {
  // A check is watched in its dialog, which its file does not outlive.
  const items = useUploads().filter(({ checkOnly }) => !checkOnly);
  const [opened, { toggle }] = useDisclosure(true);

  useEffect(() => {
    uploadManager.enter(userId);
    return () => uploadManager.leave();
  }, [userId]);

  if (items.length === 0) return null;
  return (
    <section className={classes.dock} aria-label="Uploads">
      <UnstyledButton className={classes.head} onClick={toggle} aria-expanded={opened}>
        <span>{summary(items)}</span>
        {opened ? <IconChevronDown size={18} aria-hidden /> : <IconChevronUp size={18} aria-hidden />}
      </UnstyledButton>
      {opened && (
        <ul className={classes.list}>
          {items.map((item) => (
            <DockItem key={item.key} item={item} />
          ))}
        </ul>
      )}
    </section>
  );
}

function DockItem({ item }: { item: UploadItem }) {
  return (
    <li className={classes.item}>
      <div className={classes.line}>
        <span className={classes.name}>
          {item.modelId === null ? (
            item.fileName
          ) : (
            <Link to="/models/$modelId" params={{ modelId: item.modelId }} className={classes.link}>
              {item.fileName}
            </Link>
          )}
        </span>
        <UploadActions item={item} />
      </div>
      <UploadProgress item={item} />
      <p className={classes.words} data-failed={item.status === 'failed' || undefined}>
        {words(item)}
      </p>
    </li>
  );
}

function words(item: UploadItem): string {
  switch (item.status) {
    case 'starting':
      return 'Preparing…';
    case 'uploading':
      return 'You can leave this page open and work elsewhere in Loggia.';
    case 'paused':
      return 'Paused. What has arrived is kept.';
    case 'needs_file':
      return `${formatBytes(item.done)} of ${formatBytes(item.size)} are already there. Choose the same file to go on.`;
    case 'checking':
    case 'complete':
      return 'Uploaded. Loggia now unpacks and validates it.';
    case 'failed':
      return item.problem === null ? 'Failed.' : `${item.problem.detail} ${item.problem.remedy}`;
  }
}

function summary(items: readonly UploadItem[]): string {
  const under = items.filter(({ status }) => status === 'starting' || status === 'uploading').length;
  if (under > 0) return under === 1 ? 'Uploading 1 file' : `Uploading ${under} files`;
  if (items.some(({ status }) => status === 'failed')) return 'An upload needs attention';
  if (items.some(({ status }) => status === 'needs_file')) return 'An upload can go on';
  if (items.some(({ status }) => status === 'paused')) return 'Upload paused';
  return 'Uploads complete';
}
