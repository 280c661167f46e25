import type { ReactNode } from 'react';
import classes from './empty-state.module.css';

interface EmptyStateProps {
  title: string;
  children?: ReactNode;
  /** The way onward: a button or a link. */
  action?: ReactNode;
}

/** An arcade with nothing hung in it yet: says what would be here and how to get it. */
export function EmptyState({ title, children, action }: EmptyStateProps) {
  return (
    <div className={classes.root}>
      <svg className={classes.arcade} viewBox="0 0 168 84" aria-hidden focusable="false">
        <path d="M8 76V40a20 20 0 0 1 40 0v36M64 76V40a20 20 0 0 1 40 0v36M120 76V40a20 20 0 0 1 40 0v36" />
        <path d="M2 76h164M8 12h152" />
      </svg>
      <h2 className={classes.title}>{title}</h2>
      {children && <div className={classes.text}>{children}</div>}
      {action && <div className={classes.action}>{action}</div>}
    </div>
  );
}
