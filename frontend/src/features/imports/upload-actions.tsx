import { ActionIcon, Button, FileButton, Tooltip } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconPlayerPause, IconPlayerPlay, IconX } from '@tabler/icons-react';
import { confirm } from '@/components/confirm-button';
import { ApiProblem } from '@/lib/api/client';
import { ACCEPTED_SUFFIXES } from './model-file';
import { uploadManager, type UploadItem } from './upload-manager';

/** Pause, go on, choose the file again, cancel: what is possible for an upload now. */
export function UploadActions({ item }: { item: UploadItem }) {
  const over = item.status === 'complete' || (item.status === 'failed' && item.modelId === null);

  return (
    <>
      {item.status === 'needs_file' && <ChooseAgain item={item} />}
      {item.status === 'uploading' && (
        <IconAction label={`Pause the upload of ${item.fileName}`} onClick={() => uploadManager.pause(item.key)}>
          <IconPlayerPause size={17} aria-hidden />
        </IconAction>
      )}
      {(item.status === 'paused' || item.status === 'failed') && !over && (
        <IconAction label={`Go on with the upload of ${item.fileName}`} onClick={() => uploadManager.resume(item.key)}>
          <IconPlayerPlay size={17} aria-hidden />
        </IconAction>
      )}
      {over ? (
        <IconAction label={`Remove ${item.fileName} from this list`} onClick={() => uploadManager.dismiss(item.key)}>
          <IconX size={17} aria-hidden />
        </IconAction>
      ) : (
        <IconAction label={`Cancel the upload of ${item.fileName}`} onClick={() => askToCancel(item)}>
          <IconX size={17} aria-hidden />
        </IconAction>
      )}
    </>
  );
}

function askToCancel(item: UploadItem): void {
  confirm({
    title: `Cancel the import of ${item.fileName}?`,
    message: 'What has arrived on the server is removed. The file on your computer stays as it is.',
    confirmLabel: 'Cancel the import',
    danger: true,
    onConfirm: () => void uploadManager.cancel(item.key),
  });
}

function ChooseAgain({ item }: { item: UploadItem }) {
  return (
    <FileButton
      accept={ACCEPTED_SUFFIXES.join(',')}
      onChange={(file) => {
        if (file === null) return;
        try {
          uploadManager.resumeWith(item.key, file);
        } catch (error) {
          const problem = ApiProblem.from(error);
          notifications.show({ color: 'red', title: problem.detail, message: problem.remedy, autoClose: 12_000 });
        }
      }}
      inputProps={{ 'aria-label': `Choose ${item.fileName} again` }}
    >
      {(props) => (
        <Button {...props} size="compact-sm" variant="light">
          Choose file
        </Button>
      )}
    </FileButton>
  );
}

function IconAction({ label, onClick, children }: { label: string; onClick: () => void; children: React.ReactNode }) {
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size={30} aria-label={label} onClick={onClick}>
        {children}
      </ActionIcon>
    </Tooltip>
  );
}
