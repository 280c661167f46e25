import { Button, Skeleton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Panel } from '@/components/panel';
import { ProblemAlert } from '@/components/problem-alert';
import { RelativeTime } from '@/components/relative-time';
import { formatMoney } from '@/features/usage/usage';
import { request } from '@/lib/api/client';
import type { ModelPage, Prices } from '@/lib/api/types';
import { atLeast } from '@/lib/freshness';
import { keys } from '@/lib/query-keys';
import { hardwareName } from './prices';
import { PricesDialog } from './prices-dialog';
import classes from './settings-page.module.css';

/** What hardware and tokens cost; the bill and the wizard's estimate follow. */
export function PricesPanel({ mayChange }: { mayChange: boolean }) {
  const queryClient = useQueryClient();
  const [editing, dialog] = useDisclosure(false);
  const prices = useQuery({
    queryKey: keys.prices,
    queryFn: ({ signal }) => request<Prices>('GET', '/api/prices', { query: { atLeast: atLeast() }, signal }),
  });
  const models = useQuery({
    queryKey: [...keys.models, 'names'],
    queryFn: ({ signal }) => request<ModelPage>('GET', '/api/models', { query: { limit: 200, sort: 'name' }, signal }),
  });
  const names = new Map(models.data?.items.map(({ id, name }) => [id, name]));
  const { currency = null, hardware = [], tokens = [], setAt = null, setBy = null } = prices.data ?? {};

  return (
    <Panel
      title="Prices"
      description={
        setAt === null ? (
          'What hardware and tokens cost. Without prices, usage is counted and nothing is charged.'
        ) : (
          <>
            Set by {setBy} <RelativeTime time={setAt} />. They hold from the beginning of that day (UTC); days before keep theirs.
          </>
        )
      }
      actions={
        mayChange &&
        prices.data && (
          <Button variant="default" onClick={dialog.open}>
            {currency === null ? 'Set prices' : 'Change prices'}
          </Button>
        )
      }
      flush
    >
      <ProblemAlert problem={prices.error} onRetry={() => void prices.refetch()} />
      {prices.isPending && <Skeleton height={52} />}
      {prices.isSuccess && currency === null && <p className={classes.none}>No prices are set.</p>}
      {currency !== null && hardware.length + tokens.length > 0 && (
        <div className={classes.scroll}>
          <table className={classes.table}>
            <thead>
              <tr>
                <th scope="col">What</th>
                <th scope="col">For</th>
                <th scope="col">Price</th>
              </tr>
            </thead>
            <tbody>
              {hardware.map(({ kind, perHour }) => (
                <tr key={kind}>
                  <td className={classes.name}>{hardwareName(kind)}</td>
                  <td className={classes.quiet}>{kind === 'cpu' ? 'an hour of a replica' : 'an hour of one GPU'}</td>
                  <td>{formatMoney(perHour, currency)}</td>
                </tr>
              ))}
              {tokens.map(({ modelId, perMillionInput, perMillionOutput }) => (
                <tr key={modelId ?? ''}>
                  <td className={classes.name}>{modelId === null ? 'Tokens of any other model' : `Tokens of ${names.get(modelId) ?? modelId}`}</td>
                  <td className={classes.quiet}>a million in, a million out</td>
                  <td>
                    {formatMoney(perMillionInput, currency)}, {formatMoney(perMillionOutput, currency)}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {prices.data && (
        <PricesDialog
          opened={editing}
          onClose={dialog.close}
          prices={prices.data}
          models={models.data?.items ?? []}
          onChanged={() => void queryClient.invalidateQueries({ queryKey: keys.prices })}
        />
      )}
    </Panel>
  );
}
