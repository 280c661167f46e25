import { CopyButton } from './copy-button';
import classes from './code-block.module.css';

interface CodeBlockProps {
  code: string;
  /** What it is, for the copy button and for screen readers. */
  what: string;
}

/** Text to be copied into a terminal or an editor, exactly as it stands. */
export function CodeBlock({ code, what }: CodeBlockProps) {
  return (
    <div className={classes.root}>
      {/* A region that scrolls must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre className={classes.code} tabIndex={0} role="region" aria-label={what}>
        <code>{code}</code>
      </pre>
      <div className={classes.copy}>
        <CopyButton value={code} what={what} />
      </div>
    </div>
  );
}
