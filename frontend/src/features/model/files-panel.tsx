import { Button, Skeleton, Table } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Bytes } from '@/components/bytes';
import { CopyButton } from '@/components/copy-button';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import type { ModelDetail, ModelFile } from '@/lib/api/types';
import { formatBytes } from '@/lib/format';
import { modelQuery } from '@/lib/queries';
import classes from './files-panel.module.css';

const FIRST_FILES = 12;

/** The files of the version with their digests, so that anyone can compare them with their own copies. */
export function FilesPanel({ model }: { model: ModelDetail }) {
  const stored = model.manifestSha256 !== null;
  const files = useQuery({ ...modelQuery<ModelFile[]>(model.id, 'files'), enabled: stored });
  const [all, setAll] = useState(false);

  if (!stored) return null;
  const shown = all ? files.data : files.data?.slice(0, FIRST_FILES);
  const size = model.totalBytes === null ? '' : `, ${formatBytes(model.totalBytes)}`;

  return (
    <Panel
      title="Files"
      description={`${model.fileCount ?? 'All'} files${size}. Digests are SHA-256.`}
      flush={!files.error}
      actions={model.manifestSha256 !== null && <CopyButton value={model.manifestSha256} what="digest of the manifest" labelled />}
    >
      {files.error ? (
        <ProblemAlert problem={files.error} onRetry={() => void files.refetch()} />
      ) : (
        <Table.ScrollContainer minWidth={520} type="native">
          <Table className={classes.table} verticalSpacing={7} horizontalSpacing={20}>
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Path</Table.Th>
                <Table.Th className={classes.size}>Size</Table.Th>
                <Table.Th>Digest</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {shown
                ? shown.map((file) => <File key={file.path} file={file} />)
                : Array.from({ length: Math.min(model.fileCount ?? 5, FIRST_FILES) }, (_, row) => (
                    <Table.Tr key={row}>
                      <Table.Td colSpan={3}>
                        <Skeleton height={20} my={7} />
                      </Table.Td>
                    </Table.Tr>
                  ))}
            </Table.Tbody>
          </Table>
          {shown && files.data && shown.length < files.data.length && (
            <div className={classes.more}>
              <Button variant="subtle" size="xs" onClick={() => setAll(true)}>
                Show {files.data.length - shown.length} more
              </Button>
            </div>
          )}
        </Table.ScrollContainer>
      )}
    </Panel>
  );
}

function File({ file }: { file: ModelFile }) {
  return (
    <Table.Tr>
      <Table.Td className={classes.path}>{file.path}</Table.Td>
      <Table.Td className={classes.size}>
        <Bytes value={file.sizeBytes} />
      </Table.Td>
      <Table.Td>
        <span className={classes.digest}>
          <code title={file.sha256}>{file.sha256.slice(0, 16)}…</code>
          <CopyButton value={file.sha256} what={`digest of ${file.path}`} />
        </span>
      </Table.Td>
    </Table.Tr>
  );
}
