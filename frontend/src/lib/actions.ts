import type { Actions, ModelAction } from './api/types';

/** Why the action is refused now, or null when it is possible. */
export function refusal(actions: Actions, action: ModelAction): string | null {
  const state = actions[action];
  if (state.allowed) return null;
  return state.reason ?? 'This is not possible in the present state.';
}
