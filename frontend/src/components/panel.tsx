import type { ReactNode } from 'react';
import classes from './panel.module.css';

interface PanelProps {
  title?: ReactNode;
  description?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  /** No inner space: for tables and lists that reach the edges. */
  flush?: boolean;
}

/** A titled surface that groups what belongs together. */
export function Panel({ title, description, actions, children, flush = false }: PanelProps) {
  return (
    <section className={classes.root}>
      {(title !== undefined || actions !== undefined) && (
        <div className={classes.head}>
          <div>
            {title !== undefined && <h2 className={classes.title}>{title}</h2>}
            {description !== undefined && <p className={classes.description}>{description}</p>}
          </div>
          {actions}
        </div>
      )}
      <div className={flush ? classes.flush : classes.body}>{children}</div>
    </section>
  );
}
