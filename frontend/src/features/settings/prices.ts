import type { Prices } from '@/lib/api/types';

/** One line of the dialog; for tokens, `model` is empty for those without a price of their own. */
export interface HardwareLine {
  kind: string;
  /** The kind is a name that is typed in. */
  named: boolean;
  perHour: string;
}
export interface TokenLine {
  model: string;
  perMillionInput: string;
  perMillionOutput: string;
}
export interface PricesDraft {
  currency: string;
  hardware: HardwareLine[];
  tokens: TokenLine[];
}

const AMOUNT = /^\d{1,9}(\.\d{1,9})?$/;

/** What the dialog begins with: the prices in force, or lines to be filled in. */
export function draftOf(prices: Prices): PricesDraft {
  if (prices.currency === null) {
    return {
      currency: 'EUR',
      hardware: [
        { kind: 'cpu', named: false, perHour: '' },
        { kind: 'gpu', named: false, perHour: '' },
      ],
      tokens: [{ model: '', perMillionInput: '', perMillionOutput: '' }],
    };
  }
  return {
    currency: prices.currency,
    hardware: prices.hardware.map(({ kind, perHour }) => ({ kind, named: kind !== 'cpu' && kind !== 'gpu', perHour })),
    tokens: prices.tokens.map(({ modelId, ...amounts }) => ({ model: modelId ?? '', ...amounts })),
  };
}

/** The command's body. A line without an amount is a price that is not set. */
export function bodyOf(draft: PricesDraft) {
  return {
    currency: draft.currency.trim().toUpperCase(),
    hardware: draft.hardware
      .filter(({ perHour }) => perHour.trim() !== '')
      .map(({ kind, perHour }) => ({ kind: kind.trim(), perHour: perHour.trim() })),
    tokens: draft.tokens
      .filter(({ perMillionInput, perMillionOutput }) => perMillionInput.trim() + perMillionOutput.trim() !== '')
      .map(({ model, perMillionInput, perMillionOutput }) => ({
        modelId: model === '' ? null : model,
        perMillionInput: perMillionInput.trim() === '' ? '0' : perMillionInput.trim(),
        perMillionOutput: perMillionOutput.trim() === '' ? '0' : perMillionOutput.trim(),
      })),
  };
}

/** What is wrong with an amount, or null. An empty one is a price that is not set. */
export function amountProblem(text: string): string | null {
  return text.trim() === '' || AMOUNT.test(text.trim()) ? null : 'Write a number such as 0.15.';
}

export function hardwareName(kind: string): string {
  return kind === 'cpu' ? 'Replica without GPU' : kind === 'gpu' ? 'Any GPU' : kind;
}
