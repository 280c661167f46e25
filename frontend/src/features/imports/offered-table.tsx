import { Checkbox, TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useMemo, useRef, useState } from 'react';
import type { OfferedModel } from '@/lib/api/types';
import { formatBytes, formatNumber } from '@/lib/format';
import classes from './offered-table.module.css';
import { matchingRows, MOST_MODELS, rowRefusal, withoutRows, withRows } from './selection';

const ROW_HEIGHT = 52;
const OVERSCAN = 8;

interface OfferedTableProps {
  rows: readonly OfferedModel[];
  selected: ReadonlySet<string>;
  onSelect: (selected: ReadonlySet<string>) => void;
}

/** What an address offers. Only the rows in sight are in the page, so that thousands scroll as well as ten. */
export function OfferedTable({ rows, selected, onSelect }: OfferedTableProps) {
  const [search, setSearch] = useState('');
  const viewport = useRef<HTMLDivElement>(null);
  const shown = useMemo(() => matchingRows(rows, search), [rows, search]);
  const importable = shown.filter((row) => rowRefusal(row) === null);
  const chosen = importable.filter(({ name }) => selected.has(name)).length;
  // Nothing here is memoized by the compiler, which this warns about.
  // eslint-disable-next-line react-hooks/incompatible-library
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => viewport.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: OVERSCAN,
  });

  return (
    <div>
      <div className={classes.tools}>
        <Checkbox
          label={`All ${search.trim() === '' ? '' : 'found '}(${formatNumber(importable.length)})`}
          disabled={importable.length === 0}
          checked={chosen > 0 && chosen === importable.length}
          indeterminate={chosen > 0 && chosen < importable.length}
          onChange={(event) =>
            onSelect(event.currentTarget.checked ? withRows(selected, importable) : withoutRows(selected, importable))
          }
        />
        <TextInput
          type="search"
          aria-label="Search in the list"
          placeholder="Search"
          size="xs"
          leftSection={<IconSearch size={15} aria-hidden />}
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
          className={classes.search}
        />
      </div>
      {rows.length > MOST_MODELS && (
        <p className={classes.note}>One batch takes up to {formatNumber(MOST_MODELS)} models. Import the others after it.</p>
      )}
      {/* A region that scrolls must be reachable by keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <div ref={viewport} className={classes.viewport} tabIndex={0} role="region" aria-label="Models at this address">
        {shown.length === 0 ? (
          <p className={classes.none}>{rows.length === 0 ? 'There is no model at this address.' : 'No model matches the search.'}</p>
        ) : (
          <ul className={classes.list} style={{ height: virtual.getTotalSize() }}>
            {virtual.getVirtualItems().map(({ index, start }) => {
              const row = shown[index];
              return row === undefined ? null : (
                <li
                  key={row.name}
                  className={classes.row}
                  style={{ height: ROW_HEIGHT, transform: `translateY(${start}px)` }}
                  aria-setsize={shown.length}
                  aria-posinset={index + 1}
                >
                  <Row
                    row={row}
                    checked={selected.has(row.name)}
                    onCheck={(checked) => onSelect(checked ? withRows(selected, [row]) : withoutRows(selected, [row]))}
                  />
                </li>
              );
            })}
          </ul>
        )}
      </div>
    </div>
  );
}

interface RowProps {
  row: OfferedModel;
  checked: boolean;
  onCheck: (checked: boolean) => void;
}

function Row({ row, checked, onCheck }: RowProps) {
  const refusal = rowRefusal(row);
  return (
    <>
      <Checkbox
        aria-label={row.name}
        checked={checked}
        disabled={refusal !== null}
        onChange={(event) => onCheck(event.currentTarget.checked)}
      />
      <div className={classes.words} data-refused={refusal !== null || undefined}>
        <div className={classes.name} title={row.name}>
          {row.name}
          {row.kind === 'adapter' && <span className={classes.kind}>Adapter of {row.baseModel}</span>}
        </div>
        <div className={classes.detail} title={row.problem ?? row.address}>
          {row.existingModelId !== null ? (
            <>
              Already in the gallery ·{' '}
              <Link to="/models/$modelId" params={{ modelId: row.existingModelId }} className={classes.link}>
                open
              </Link>
            </>
          ) : (
            (row.problem ?? (row.description === '' ? row.address : row.description))
          )}
        </div>
      </div>
      <span className={classes.size}>{row.sizeBytes === null ? '' : formatBytes(row.sizeBytes)}</span>
    </>
  );
}
