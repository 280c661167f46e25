import { Button, Skeleton } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { getRouteApi } from '@tanstack/react-router';
import { EmptyState } from '@/components/empty-state';
import { PageHeader } from '@/components/page-header';
import { ProblemAlert } from '@/components/problem-alert';
import { ServerDialog } from './server-dialog';
import { ServerPanel } from './server-panel';
import { serversQuery } from './servers';
import classes from './servers-page.module.css';

const route = getRouteApi('/shell/servers');

/** Where replicas run: what each server has, whether it answers, and how busy it is. */
export default function ServersPage() {
  const { user } = route.useRouteContext();
  const servers = useQuery(serversQuery);
  const [registering, dialog] = useDisclosure(false);
  const items = servers.data?.items ?? [];
  const isAdmin = user.role === 'admin';
  const register = (
    <Button leftSection={<IconPlus size={17} aria-hidden />} onClick={dialog.open}>
      Register server
    </Button>
  );

  return (
    <>
      <PageHeader
        title="Servers"
        description="Machines on which the platform starts engines, and servers on which engines run already."
        actions={isAdmin && register}
      />
      <ProblemAlert problem={servers.error} onRetry={() => void servers.refetch()} mb="md" />
      {servers.isPending && <Skeleton height={220} radius="lg" />}
      {servers.isSuccess && items.length === 0 && (
        <EmptyState title="No server is known yet">
          A deploy worker announces its machine by itself. Servers on which vLLM or Triton run already are registered.
        </EmptyState>
      )}
      <div className={classes.servers}>
        {items.map((server) => (
          <ServerPanel key={server.name} server={server} isAdmin={isAdmin} mayDrain={isAdmin || user.role === 'operator'} />
        ))}
      </div>
      {registering && <ServerDialog server={null} onClose={dialog.close} />}
    </>
  );
}
