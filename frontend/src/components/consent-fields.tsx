import { Textarea } from '@mantine/core';
import type { Risk } from '@/lib/api/types';
import { useConsentRefusal } from '@/lib/consent';
import { MAX_REASON_LENGTH, RISKS } from '@/lib/risks';
import classes from './consent-fields.module.css';

interface ConsentFieldsProps {
  risks: readonly Risk[];
  reason: string;
  onChange: (reason: string) => void;
}

/** What policy blocks, and why it is allowed this once. */
export function ConsentFields({ risks, reason, onChange }: ConsentFieldsProps) {
  const refusal = useConsentRefusal();
  return (
    <div className={classes.root}>
      <ul className={classes.risks}>
        {risks.map((risk) => (
          <li key={risk}>{RISKS[risk]}</li>
        ))}
      </ul>
      <Textarea
        label="Why is it allowed for this import?"
        description={refusal ?? 'It stands in the history with your name, and counts for this version only.'}
        disabled={refusal !== null}
        autosize
        minRows={2}
        maxLength={MAX_REASON_LENGTH}
        value={reason}
        onChange={(event) => onChange(event.currentTarget.value)}
      />
    </div>
  );
}
