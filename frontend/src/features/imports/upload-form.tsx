import { Tabs } from '@mantine/core';
import { useState } from 'react';
import { BaseModelPicker, type BaseModel } from './base-model-picker';
import { FileForm } from './file-form';
import classes from './form.module.css';
import type { SourceFormProps } from './import-footer';
import { firstKind } from './kind-fields';
import type { ImportPlace } from './sources';
import { uploadManager } from './upload-manager';
import type { UploadWish } from './upload-records';

interface UploadFormProps extends Pick<SourceFormProps, 'target' | 'onCancel'> {
  place: ImportPlace;
  onPlace: (place: ImportPlace) => void;
  onUpload: (key: string) => void;
}

/** A file of this computer; an adapter's base model is chosen first. */
export function UploadForm({ target, place, onPlace, onUpload, onCancel }: UploadFormProps) {
  const [base, setBase] = useState<BaseModel | null>(() => firstKind(target).base);
  const start = (wish: UploadWish) => (file: File, checkOnly: boolean) =>
    onUpload(uploadManager.start(file, target === null ? wish : { ...wish, modelId: target.id }, checkOnly));
  const adapter: UploadWish = { kind: 'adapter', ...(base !== null && { baseModelId: base.id }) };
  const adapterForm = (
    <div className={classes.stack}>
      <BaseModelPicker value={base} onChange={setBase} />
      <FileForm
        kind="adapter"
        target={target}
        blocked={base === null ? 'Choose the base model first.' : null}
        onStart={start(adapter)}
        onCancel={onCancel}
      />
    </div>
  );
  const baseForm = <FileForm kind="base" target={target} blocked={null} onStart={start({ kind: 'base' })} onCancel={onCancel} />;

  // A further version is of its model's kind.
  if (target !== null) return target.kind === 'adapter' ? adapterForm : baseForm;
  return (
    <Tabs
      value={place === 'adapter' ? 'adapter' : 'base'}
      onChange={(kind) => onPlace(kind === 'adapter' ? 'adapter' : 'base')}
      keepMounted={false}
    >
      <Tabs.List mb="lg">
        <Tabs.Tab value="base">Base model</Tabs.Tab>
        <Tabs.Tab value="adapter">Adapter model</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="base">{baseForm}</Tabs.Panel>
      <Tabs.Panel value="adapter">{adapterForm}</Tabs.Panel>
    </Tabs>
  );
}
