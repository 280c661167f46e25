import { EmptyState } from '@/components/empty-state';
import { LinkButton } from '@/components/link-button';

export function NotFoundPage() {
  return (
    <EmptyState
      title="There is no such page"
      action={<LinkButton to="/">Go to the gallery</LinkButton>}
    >
      The address may be mistyped, or it belongs to something that was deleted.
    </EmptyState>
  );
}
