import { getRouteApi } from '@tanstack/react-router';
import { PageHeader } from '@/components/page-header';
import { ConnectionsPanel } from './connections-panel';
import { ParkedPanel } from './parked-panel';
import { SEES_USAGE } from '@/lib/roles';
import { PasswordPanel } from './password-panel';
import { PricesPanel } from './prices-panel';
import classes from './settings-page.module.css';
import { TokensPanel } from './tokens-panel';
import { UsersPanel } from './users-panel';

const route = getRouteApi('/shell/settings');
const LOOK_AFTER = new Set(['admin', 'operator', 'auditor']);

export default function SettingsPage() {
  const { user } = route.useRouteContext();
  return (
    <>
      <PageHeader title="Settings" description={`Signed in as ${user.username}, role ${user.role}.`} />
      <div className={classes.panels}>
        {LOOK_AFTER.has(user.role) && <ParkedPanel />}
        <PasswordPanel username={user.username} />
        <TokensPanel />
        <ConnectionsPanel mayChange={user.role === 'admin'} />
        {SEES_USAGE.has(user.role) && <PricesPanel mayChange={user.role === 'admin'} />}
        {(user.role === 'admin' || user.role === 'auditor') && <UsersPanel self={user} />}
      </div>
    </>
  );
}
