import { SegmentedControl } from '@mantine/core';
import type { ModelDetail } from '@/lib/api/types';
import { BaseModelPicker, type BaseModel } from './base-model-picker';
import classes from './form.module.css';

export interface Kind {
  kind: 'base' | 'adapter';
  base: BaseModel | null;
}

const BASE: Kind = { kind: 'base', base: null };

interface KindFieldsProps {
  value: Kind;
  /** The model of which this becomes a version: its kind stays. */
  target: ModelDetail | null;
  onChange: (kind: Kind) => void;
}

/** Whether a whole model or an adapter comes in, and for which base model. */
export function KindFields({ value, target, onChange }: KindFieldsProps) {
  const picker = value.kind === 'adapter' && (
    <BaseModelPicker value={value.base} onChange={(base) => onChange({ ...value, base })} />
  );
  if (target !== null) return picker;
  return (
    <div className={classes.stack}>
      <SegmentedControl
        aria-label="Kind of model"
        className={classes.kind}
        data={[
          { value: 'base', label: 'Base model' },
          { value: 'adapter', label: 'Adapter model' },
        ]}
        value={value.kind}
        onChange={(kind) => onChange({ ...value, kind: kind === 'adapter' ? 'adapter' : 'base' })}
      />
      {picker}
    </div>
  );
}

/** The kind to begin with: a further version is of its model's kind, and an adapter's of the same base. */
export function firstKind(target: ModelDetail | null): Kind {
  if (target === null) return BASE;
  return { kind: target.kind, base: target.baseModelId === null ? null : { id: target.baseModelId } };
}

/** As the API wants it. */
export function kindBody({ kind, base }: Kind): { kind: Kind['kind']; baseModelId?: string } {
  return kind === 'adapter' && base !== null ? { kind, baseModelId: base.id } : { kind };
}

/** Why this kind cannot be imported yet; null when it can. */
export function kindRefusal({ kind, base }: Kind): string | null {
  return kind === 'adapter' && base === null ? 'Choose the base model first.' : null;
}
