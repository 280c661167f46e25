import { PageHeader } from '@/components/page-header';
import { UsageView } from './usage-view';

export default function UsagePage() {
  return (
    <>
      <PageHeader title="Usage" description="What was asked of all models, by whom, and what it costs. Days are in UTC." />
      <UsageView />
    </>
  );
}
