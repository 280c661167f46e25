import { Button, Group, Loader, Text } from '@mantine/core';
import { IconCircleCheck } from '@tabler/icons-react';
import { LinkButton } from '@/components/link-button';
import { ProblemAlert } from '@/components/problem-alert';
import { CheckResult } from './check-result';
import { UploadActions } from './upload-actions';
import type { UploadItem } from './upload-manager';
import { UploadProgress } from './upload-progress';
import classes from './upload-view.module.css';

interface UploadViewProps {
  item: UploadItem;
  onAnother: () => void;
  onClose: () => void;
}

/** The dialog once an upload runs: how far it is, and what follows. */
export function UploadView({ item, onAnother, onClose }: UploadViewProps) {
  const refused = item.status === 'failed' && item.modelId === null;
  return (
    <>
      <div className={classes.card}>
        <div className={classes.line}>
          <span className={classes.name}>{item.fileName}</span>
          {item.status === 'checking' ? (
            <Loader size={20} aria-label="Being checked" />
          ) : item.status === 'complete' ? (
            <IconCircleCheck size={22} className={classes.done} aria-label="Uploaded" />
          ) : (
            !refused && <UploadActions item={item} />
          )}
        </div>
        <UploadProgress item={item} />
      </div>
      <ProblemAlert problem={item.problem} mt="md" />
      {item.check !== null && <CheckResult check={item.check} />}
      {!refused && item.check === null && (
        <Text size="sm" c="dimmed" mt="md" className={classes.words}>
          {words(item)}
        </Text>
      )}
      <Group justify="flex-end" mt="lg">
        <Button variant="default" onClick={onAnother}>
          {refused || item.checkOnly ? 'Choose another file' : 'Import another'}
        </Button>
        {item.modelId === null ? (
          <Button onClick={onClose}>Close</Button>
        ) : (
          <LinkButton to="/models/$modelId" params={{ modelId: item.modelId }}>
            Watch the import
          </LinkButton>
        )}
      </Group>
    </>
  );
}

function words({ checkOnly, status }: UploadItem): string {
  if (checkOnly) {
    return status === 'checking'
      ? 'The file has arrived and is being checked. It is not imported, and is removed afterwards.'
      : 'The file is sent to be checked. Keep this dialog open: closing it ends the check.';
  }
  return status === 'complete'
    ? 'The file has arrived. Loggia unpacks and validates it now; you are told when it is ready to deploy.'
    : 'You may close this dialog: the upload goes on, and the model is already in the gallery. After a reload, choose the same file again and it continues where it stopped.';
}
