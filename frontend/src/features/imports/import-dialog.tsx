import { Modal, Tabs } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { EmptyState } from '@/components/empty-state';
import { BaseModelForm } from './base-model-form';
import { uploadManager, useUploads, type UploadItem } from './upload-manager';
import { UploadView } from './upload-view';

interface ImportDialogProps {
  opened: boolean;
  kind: 'base' | 'adapter';
  onClose: () => void;
}

/** Import of a model from this computer. Closing it does not stop an upload: the dock shows it further. */
export function ImportDialog({ opened, kind, onClose }: ImportDialogProps) {
  const narrow = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const [uploadKey, setUploadKey] = useState<string | null>(null);
  const running = useUploads().find(({ key }) => key === uploadKey);
  // A complete upload leaves the list after a while; the dialog goes on showing how it ended.
  const [last, setLast] = useState(running);
  if (running !== undefined && running !== last) setLast(running);
  const item = uploadKey === null ? undefined : (running ?? last);

  return (
    <Modal
      opened={opened}
      onClose={onClose}
      onExitTransitionEnd={() => {
        dismissRefused(running);
        setUploadKey(null);
      }}
      title="Import a model"
      size={640}
      fullScreen={narrow}
    >
      {item === undefined ? (
        <Tabs defaultValue={kind} keepMounted={false}>
          <Tabs.List mb="lg">
            <Tabs.Tab value="base">Base model</Tabs.Tab>
            <Tabs.Tab value="adapter">Adapter model</Tabs.Tab>
          </Tabs.List>
          <Tabs.Panel value="base">
            <BaseModelForm onImport={(file) => setUploadKey(uploadManager.start(file))} onCancel={onClose} />
          </Tabs.Panel>
          <Tabs.Panel value="adapter">
            <EmptyState title="Adapters come later">
              An adapter belongs to a base model, which is chosen first and must be ready to deploy. This version imports
              base models; you can see which are ready <Link to="/" search={{ state: 'ready_to_deploy' }}>in the gallery</Link>.
            </EmptyState>
          </Tabs.Panel>
        </Tabs>
      ) : (
        <UploadView
          item={item}
          onAnother={() => {
            dismissRefused(item);
            setUploadKey(null);
          }}
          onClose={onClose}
        />
      )}
    </Modal>
  );
}

/** A refusal that was read here need not be told again in the dock. */
function dismissRefused(item: UploadItem | undefined): void {
  if (item?.status === 'failed' && item.modelId === null) uploadManager.dismiss(item.key);
}
