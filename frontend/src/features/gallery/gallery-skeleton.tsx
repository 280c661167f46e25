import { Skeleton } from '@mantine/core';
import tableClasses from './model-table.module.css';
import cardClasses from './model-cards.module.css';

const ROWS = Array.from({ length: 6 }, (_, index) => index);

/** Stands where the models will be, with the same measures. */
export function GallerySkeleton({ wide }: { wide: boolean }) {
  if (!wide) {
    return (
      <ul className={cardClasses.list} aria-hidden>
        {ROWS.map((row) => (
          <li key={row} className={cardClasses.card}>
            <Skeleton height={16} width="55%" />
            <Skeleton height={12} width="80%" mt={12} />
            <Skeleton height={24} width={130} mt={14} radius="xl" />
          </li>
        ))}
      </ul>
    );
  }
  return (
    <div className={tableClasses.frame} aria-hidden>
      <div className={tableClasses.skeletonHead} />
      {ROWS.map((row) => (
        <div key={row} className={tableClasses.skeletonRow}>
          <div style={{ flex: 1 }}>
            <Skeleton height={14} width="38%" />
            <Skeleton height={11} width="62%" mt={10} />
          </div>
          <Skeleton height={24} width={140} radius="xl" />
          <Skeleton height={12} width={70} />
          <Skeleton height={12} width={90} />
        </div>
      ))}
    </div>
  );
}
