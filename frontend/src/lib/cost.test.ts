import { describe, expect, it } from 'vitest';
import { costText } from './cost';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');

describe('costText', () => {
  it('shows small amounts as they are', () => {
    expect(plain(costText('0.000125', 'EUR'))).toBe('EUR 0.000125');
    expect(plain(costText('12', 'EUR'))).toBe('EUR 12.00');
  });

  it('shows a range only where there is one', () => {
    expect(plain(costText({ least: '0', most: '2.5' }, 'USD'))).toBe('USD 0.00 to USD 2.50');
    expect(plain(costText({ least: '2.50', most: '2.5' }, 'USD'))).toBe('USD 2.50');
  });

  it('says where no price is set', () => {
    expect(costText(null, 'USD')).toBe('No price is set');
    expect(costText({ least: null, most: null }, 'USD')).toBe('No price is set');
  });
});
