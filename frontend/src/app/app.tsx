import { MantineProvider } from '@mantine/core';
import { ModalsProvider } from '@mantine/modals';
import { Notifications } from '@mantine/notifications';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { useEffect } from 'react';
import { onUnauthorized } from '@/lib/api/client';
import { keys } from '@/lib/query-keys';
import { createQueryClient } from './query-client';
import { createAppRouter } from './router';
import { theme } from './theme';

const queryClient = createQueryClient();
const router = createAppRouter(queryClient);

export function App() {
  useEffect(
    () =>
      onUnauthorized(() => {
        queryClient.removeQueries({ queryKey: keys.session });
        // The shell's guard finds no session and leads to the sign-in page, and back here afterwards.
        void router.invalidate();
      }),
    [],
  );

  return (
    <QueryClientProvider client={queryClient}>
      <MantineProvider theme={theme} defaultColorScheme="auto">
        <ModalsProvider>
          <Notifications position="top-center" limit={4} autoClose={5000} />
          <RouterProvider router={router} />
        </ModalsProvider>
      </MantineProvider>
    </QueryClientProvider>
  );
}
