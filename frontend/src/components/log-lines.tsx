import { useEffect, useRef } from 'react';
import classes from './log-lines.module.css';

interface LogLinesProps {
  lines: readonly string[];
  /** Whose log this is, for screen readers. */
  label: string;
  /** Stay at the end as lines arrive, unless the person has scrolled up. */
  follow?: boolean;
}

const END_TOLERANCE_PX = 24;

/** An engine's last words, as it wrote them. */
export function LogLines({ lines, label, follow = false }: LogLinesProps) {
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    if (follow && atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [follow, lines]);

  return (
    // A region that scrolls must be reachable by keyboard.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <pre ref={box} className={classes.root} tabIndex={0} role="region" aria-label={label}
      onScroll={(event) => {
        const { scrollHeight, scrollTop, clientHeight } = event.currentTarget;
        atEnd.current = scrollHeight - scrollTop - clientHeight < END_TOLERANCE_PX;
      }}
    >
      {lines.length === 0 ? <span className={classes.empty}>No lines yet.</span> : lines.join('\n')}
    </pre>
  );
}
