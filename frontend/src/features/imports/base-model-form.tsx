import { ActionIcon, Button, Collapse, Group, Text } from '@mantine/core';
import { Dropzone } from '@mantine/dropzone';
import { useDisclosure } from '@mantine/hooks';
import { IconFileZip, IconInfoCircle, IconUpload, IconX } from '@tabler/icons-react';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ProblemAlert } from '@/components/problem-alert';
import { ApiProblem } from '@/lib/api/client';
import { formatBytes } from '@/lib/format';
import { ArchiveInstructions } from './archive-instructions';
import classes from './base-model-form.module.css';
import { ACCEPTED_SUFFIXES, checkArchive } from './model-archive';

interface BaseModelFormProps {
  onImport: (file: File) => void;
  onCancel: () => void;
}

export function BaseModelForm({ onImport, onCancel }: BaseModelFormProps) {
  const [file, setFile] = useState<File | null>(null);
  const [instructions, { toggle }] = useDisclosure(false);
  const check = file === null ? null : checkArchive(file);
  const usable = check?.usable === true ? check : null;
  const problem =
    check?.usable === false ? new ApiProblem({ status: 0, detail: check.detail, remedy: check.remedy }) : null;

  return (
    <>
      <Dropzone
        onDrop={(files) => setFile(files[0] ?? null)}
        multiple={false}
        aria-label={`Model archive, ${ACCEPTED_SUFFIXES.join(' or ')}`}
        className={classes.zone}
        inputProps={{ 'aria-label': 'Model archive' }}
      >
        <div className={classes.invitation}>
          <IconUpload size={30} stroke={1.5} aria-hidden />
          <div>
            <Text fw={580}>Drop the model archive here</Text>
            <Text size="sm" c="dimmed">
              or <span className={classes.browse}>choose a file</span> · accepted: {ACCEPTED_SUFFIXES.join(', ')}
            </Text>
          </div>
        </div>
      </Dropzone>

      <div className={classes.chosen} aria-live="polite">
        {file !== null && (
          <div className={classes.file}>
            <IconFileZip size={26} stroke={1.5} aria-hidden />
            <div className={classes.words}>
              <div className={classes.name}>{file.name}</div>
              <div className={classes.detail}>
                {formatBytes(file.size)}
                {usable !== null && (
                  <>
                    {' '}
                    · becomes <strong>{usable.modelName}</strong>
                  </>
                )}
              </div>
            </div>
            <ActionIcon variant="subtle" color="gray" aria-label="Choose another file" onClick={() => setFile(null)}>
              <IconX size={17} aria-hidden />
            </ActionIcon>
          </div>
        )}
        <ProblemAlert problem={problem} mt="sm" />
      </div>

      <Button
        variant="subtle"
        size="compact-sm"
        mt="sm"
        leftSection={<IconInfoCircle size={17} aria-hidden />}
        onClick={toggle}
        aria-expanded={instructions}
      >
        Instructions
      </Button>
      <Collapse in={instructions}>
        <ArchiveInstructions />
      </Collapse>

      <Group justify="flex-end" mt="lg">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <ActionButton
          disabledReason={
            file === null
              ? 'Choose a model archive first.'
              : usable === null
                ? 'This file cannot be imported. Choose another one.'
                : null
          }
          onClick={() => file !== null && usable !== null && onImport(file)}
        >
          Import
        </ActionButton>
      </Group>
    </>
  );
}
