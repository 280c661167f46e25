import { useDocumentTitle } from '@mantine/hooks';
import type { ReactNode } from 'react';
import classes from './page-header.module.css';

interface PageHeaderProps {
  title: string;
  /** Beside the title: states, badges. */
  aside?: ReactNode;
  description?: ReactNode;
  /** Above the title: where this page belongs, as a link. */
  parent?: ReactNode;
  actions?: ReactNode;
}

/** The head of a page; also names the browser's tab. */
export function PageHeader({ title, aside, description, parent, actions }: PageHeaderProps) {
  useDocumentTitle(`${title} · Loggia`);
  return (
    <header className={classes.root}>
      {parent && <div className={classes.parent}>{parent}</div>}
      <div className={classes.line}>
        <div className={classes.heading}>
          <h1 className={classes.title}>{title}</h1>
          {aside}
        </div>
        {actions && <div className={classes.actions}>{actions}</div>}
      </div>
      {description && <div className={classes.description}>{description}</div>}
    </header>
  );
}
