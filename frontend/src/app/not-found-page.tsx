import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { EmptyState } from '@/components/empty-state';

export function NotFoundPage() {
  return (
    <EmptyState
      title="There is no such page"
      action={
        <Button component={Link} to="/">
          Go to the gallery
        </Button>
      }
    >
      The address may be mistyped, or it belongs to something that was deleted.
    </EmptyState>
  );
}
