import { ActionIcon, Menu } from '@mantine/core';
import { IconLogout, IconSettings, IconUserCircle } from '@tabler/icons-react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { LinkMenuItem } from '@/components/link-button';
import { request } from '@/lib/api/client';
import type { User } from '@/lib/api/types';
import { forgetPositions } from '@/lib/freshness';

export function UserMenu({ user }: { user: User }) {
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const signOut = useMutation({
    mutationFn: () => request('DELETE', '/api/session'),
    onSettled: () => {
      queryClient.clear();
      forgetPositions();
      void navigate({ to: '/signin' });
    },
  });

  return (
    <Menu width={220}>
      <Menu.Target>
        <ActionIcon variant="subtle" aria-label={`Account of ${user.username}`}>
          <IconUserCircle size={21} stroke={1.7} aria-hidden />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {user.username} · {user.role}
        </Menu.Label>
        <LinkMenuItem to="/settings" leftSection={<IconSettings size={17} aria-hidden />}>
          Settings
        </LinkMenuItem>
        <Menu.Item leftSection={<IconLogout size={17} aria-hidden />} onClick={() => signOut.mutate()}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
