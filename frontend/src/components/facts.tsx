import type { ReactNode } from 'react';
import classes from './facts.module.css';

export interface Fact {
  label: string;
  value: ReactNode;
  /** Long or technical values: fixed-width digits and letters. */
  mono?: boolean;
}

/** Names and values side by side, as a card of data. */
export function Facts({ facts, columns = 2 }: { facts: Fact[]; columns?: 1 | 2 | 3 }) {
  return (
    <dl className={classes.root} data-columns={columns}>
      {facts.map(({ label, value, mono }) => (
        <div key={label} className={classes.fact}>
          <dt>{label}</dt>
          <dd data-mono={mono ?? false}>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
