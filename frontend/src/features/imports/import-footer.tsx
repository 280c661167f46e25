import { Alert, Button, Group, Loader } from '@mantine/core';
import { IconShieldExclamation } from '@tabler/icons-react';
import { useState } from 'react';
import { ActionButton } from '@/components/action-button';
import { ConsentFields } from '@/components/consent-fields';
import { ProblemAlert } from '@/components/problem-alert';
import type { ImportBody, ModelDetail, Risk } from '@/lib/api/types';
import { useConsentRefusal } from '@/lib/consent';
import { risksToAccept } from '@/lib/risks';
import { CheckResult } from './check-result';
import classes from './import-footer.module.css';
import { useImport, useImportCheck } from './import-command';

const NO_RISKS: readonly Risk[] = [];

export interface SourceFormProps {
  /** The model that gets a further version; null where a new model comes in. */
  target: ModelDetail | null;
  onCancel: () => void;
  onAccepted: (modelId: string) => void;
}

interface ImportFooterProps extends SourceFormProps {
  body: ImportBody;
  /** Why there is nothing to import yet; null when there is. */
  disabledReason: string | null;
  /** Risks that are known without a check. */
  risks?: readonly Risk[];
  label?: string;
}

/** What ends every source: check it only, or import it; with consent where policy would block it. */
export function ImportFooter({ body, disabledReason, target, onCancel, onAccepted, risks = NO_RISKS, label = 'Import' }: ImportFooterProps) {
  const [reason, setReason] = useState('');
  const consentRefusal = useConsentRefusal();
  const send = useImport(onAccepted);
  const check = useImportCheck();
  const wanted: ImportBody = target === null ? body : { ...body, modelId: target.id };
  const fingerprint = JSON.stringify(wanted);
  // What was found counts for exactly what was asked.
  const [asked, setAsked] = useState('');
  const found = asked === fingerprint ? check.data : undefined;
  const risky = [...new Set([...risks, ...risksToAccept(found?.report?.checks ?? [])])];
  const consented: ImportBody =
    risky.length > 0 && reason.trim() !== ''
      ? { ...wanted, acceptedRisks: { risks: risky, reason: reason.trim() } }
      : wanted;

  return (
    <>
      {check.isPending && (
        <p className={classes.checking} role="status">
          <Loader size={16} aria-hidden /> Checking without importing. A large model takes a while.
        </p>
      )}
      {found !== undefined && <CheckResult check={found} />}
      {risky.length > 0 && (
        <Alert color="ochre" mt="md" icon={<IconShieldExclamation size={20} aria-hidden />} title="Policy blocks this import unless an administrator allows it">
          <ConsentFields risks={risky} reason={reason} onChange={setReason} />
        </Alert>
      )}
      <ProblemAlert problem={send.error ?? (asked === fingerprint ? check.error : null)} mt="md" />
      <Group justify="flex-end" mt="lg" gap="sm">
        <Button variant="default" onClick={onCancel}>
          Cancel
        </Button>
        <ActionButton
          variant="default"
          disabledReason={disabledReason}
          loading={check.isPending}
          onClick={() => {
            send.reset();
            setAsked(fingerprint);
            check.mutate(consented);
          }}
        >
          Check only
        </ActionButton>
        <ActionButton
          disabledReason={disabledReason ?? (risks.length > 0 && reason.trim() === '' ? (consentRefusal ?? 'Say why the risk is accepted.') : null)}
          loading={send.isPending}
          onClick={() => send.mutate(consented)}
        >
          {label}
        </ActionButton>
      </Group>
    </>
  );
}
