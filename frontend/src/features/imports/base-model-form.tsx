import { Button, Collapse, Group } from '@mantine/core';
import { Dropzone } from '@mantine/dropzone';
import { useDisclosure } from '@mantine/hooks';
import { IconFileZip, IconInfoCircle, IconUpload } from '@tabler/icons-react';
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
          {file === null ? (
            <>
              <IconUpload size={32} stroke={1.5} aria-hidden />
              <div>
                <div className={classes.title}>Drop the model archive here</div>
                <div className={classes.detail}>
                  or <span className={classes.browse}>choose a file</span> · accepted: {ACCEPTED_SUFFIXES.join(', ')}
                </div>
              </div>
            </>
          ) : (
            <>
              <IconFileZip size={32} stroke={1.5} aria-hidden />
              <div className={classes.words}>
                <div className={classes.title}>
                  {file.name} <span className={classes.size}>{formatBytes(file.size)}</span>
                </div>
                <div className={classes.detail}>
                  {usable !== null && (
                    <>
                      becomes the model <strong>{usable.modelName}</strong> ·{' '}
                    </>
                  )}
                  <span className={classes.browse}>choose another file</span>
                </div>
              </div>
            </>
          )}
        </div>
      </Dropzone>
      <ProblemAlert problem={problem} mt="sm" />

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
