import type { Role } from './api/types';

/** Who may see what was used and what it costs. */
export const SEES_USAGE: ReadonlySet<Role> = new Set<Role>(['admin', 'operator', 'auditor', 'integrator']);
