import { TextInput } from '@mantine/core';
import { useState } from 'react';
import { ConnectionSelect } from './connection-select';
import classes from './form.module.css';
import { ImportFooter, type SourceFormProps } from './import-footer';
import { IdentityFields, identityBody, identityRefusal } from './identity-fields';
import { firstKind, kindBody, KindFields, kindRefusal } from './kind-fields';

/** One archive or file of weights at a web address. */
export function AddressForm(props: SourceFormProps) {
  const { target } = props;
  const [address, setAddress] = useState('');
  const [connection, setConnection] = useState<string | null>(null);
  const [identity, setIdentity] = useState({ name: '', version: '' });
  const [kind, setKind] = useState(() => firstKind(target));
  const refusal = address.trim() === '' ? 'Give an address.' : (kindRefusal(kind) ?? identityRefusal(identity, target));

  return (
    <div className={classes.stack}>
      <TextInput
        label="Address"
        description="Of a .zip, .tar, .tar.gz or .tar.zst archive, or of one .safetensors, .gguf or .onnx file."
        placeholder="https://"
        value={address}
        onChange={(event) => setAddress(event.currentTarget.value)}
      />
      <ConnectionSelect kinds={['http', 's3']} value={connection} onChange={setConnection} />
      <KindFields value={kind} target={target} onChange={setKind} />
      <IdentityFields value={identity} onChange={setIdentity} target={target} />
      <ImportFooter
        {...props}
        body={{ source: 'url', address: address.trim(), connection, ...identityBody(identity, target), ...kindBody(kind) }}
        disabledReason={refusal}
      />
    </div>
  );
}
