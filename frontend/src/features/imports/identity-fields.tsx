import { TextInput } from '@mantine/core';
import type { ModelDetail } from '@/lib/api/types';
import { nameFault, versionFault } from '@/lib/names';
import classes from './form.module.css';

export interface Identity {
  name: string;
  version: string;
}

interface IdentityFieldsProps {
  value: Identity;
  onChange: (identity: Identity) => void;
  /** The model of which this becomes a version: its name stays. */
  target: ModelDetail | null;
}

/** The model's name and the version's number. */
export function IdentityFields({ value, onChange, target }: IdentityFieldsProps) {
  const fault = target === null && value.name !== '' ? nameFault(value.name) : null;
  return (
    <div className={classes.pair}>
      {target === null && (
        <TextInput
          label="Model name"
          value={value.name}
          error={fault?.detail}
          onChange={(event) => onChange({ ...value, name: event.currentTarget.value })}
        />
      )}
      <TextInput
        label="Version"
        placeholder={target === null ? '0.0.1' : `After ${target.latestVersion}`}
        value={value.version}
        error={versionFault(value.version)}
        onChange={(event) => onChange({ ...value, version: event.currentTarget.value.trim() })}
      />
    </div>
  );
}

/** As the API wants it. */
export function identityBody({ name, version }: Identity, target: ModelDetail | null): Record<string, string> {
  return { ...(target === null && { name }), ...(version !== '' && { version }) };
}

/** Why this name or number cannot be taken; null when both can. */
export function identityRefusal({ name, version }: Identity, target: ModelDetail | null): string | null {
  return (target === null ? (nameFault(name)?.detail ?? null) : null) ?? versionFault(version);
}
