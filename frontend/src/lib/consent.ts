import { useQuery } from '@tanstack/react-query';
import { sessionQuery } from './queries';

/** Why the person may not accept what policy blocks; null for administrators. */
export function useConsentRefusal(): string | null {
  const { data } = useQuery(sessionQuery);
  return data?.user.role === 'admin'
    ? null
    : 'Only an administrator may allow this: ask one to import it, or to retry the failed import.';
}
