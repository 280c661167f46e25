import { Button, Collapse, Group } from '@mantine/core';
import { Dropzone } from '@mantine/dropzone';
import { useDisclosure } from '@mantine/hooks';
import { IconFileZip, IconInfoCircle, IconUpload } from '@tabler/icons-react';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ProblemAlert } from '@/components/problem-alert';
import { ApiProblem } from '@/lib/api/client';
import type { ModelDetail } from '@/lib/api/types';
import { formatBytes } from '@/lib/format';
import classes from './file-form.module.css';
import { FileInstructions } from './file-instructions';
import { ACCEPTED_SUFFIXES, checkModelFile } from './model-file';

interface FileFormProps {
  kind: 'base' | 'adapter';
  target: ModelDetail | null;
  /** Why no file can be sent yet; null when one can. */
  blocked: string | null;
  onStart: (file: File, checkOnly: boolean) => void;
  onCancel: () => void;
}

/** A model's archive or single file, chosen or dropped. */
export function FileForm({ kind, target, blocked, onStart, onCancel }: FileFormProps) {
  const [file, setFile] = useState<File | null>(null);
  const [instructions, { toggle }] = useDisclosure(false);
  const check = file === null ? null : checkModelFile(file);
  const usable = check?.usable === true ? check : null;
  const problem =
    check?.usable === false ? new ApiProblem({ status: 0, detail: check.detail, remedy: check.remedy }) : null;
  const what = kind === 'base' ? 'Model archive' : 'Adapter archive';
  const disabledReason =
    blocked ??
    (file === null
      ? 'Choose a model file first.'
      : usable === null
        ? 'This file cannot be imported. Choose another one.'
        : null);
  const start = (checkOnly: boolean) => file !== null && usable !== null && onStart(file, checkOnly);

  return (
    <div>
      <Dropzone
        onDrop={(files) => setFile(files[0] ?? null)}
        multiple={false}
        aria-label={`${what}, ${ACCEPTED_SUFFIXES.join(' or ')}`}
        className={classes.zone}
        inputProps={{ 'aria-label': what }}
      >
        <div className={classes.invitation}>
          {file === null ? (
            <>
              <IconUpload size={32} stroke={1.5} aria-hidden />
              <div className={classes.words}>
                <div className={classes.title}>Drop the {kind === 'base' ? 'model' : 'adapter'} here</div>
                <div className={classes.detail}>
                  or <span className={classes.browse}>choose a file</span> · {ACCEPTED_SUFFIXES.join(', ')}
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
                      becomes{' '}
                      {target === null ? (
                        <>
                          the model <strong>{usable.modelName}</strong>
                        </>
                      ) : (
                        <>
                          a version of <strong>{target.name}</strong>
                        </>
                      )}{' '}
                      ·{' '}
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
        <FileInstructions kind={kind} />
      </Collapse>

      <Group justify="flex-end" mt="lg" gap="sm">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <ActionButton variant="default" disabledReason={disabledReason} onClick={() => start(true)}>
          Check only
        </ActionButton>
        <ActionButton disabledReason={disabledReason} onClick={() => start(false)}>
          Import
        </ActionButton>
      </Group>
    </div>
  );
}
