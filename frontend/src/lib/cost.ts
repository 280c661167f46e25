interface Range {
  least: string | null;
  most: string | null;
}

/** An amount as the server gives it, in decimal, with its currency; a range where the replicas make one. */
export function costText(amount: string | null | Range, currency: string): string {
  if (amount === null) return 'No price is set';
  if (typeof amount === 'string') return money(amount, currency);
  const { least, most } = amount;
  if (least === null || most === null) return 'No price is set';
  return Number(least) === Number(most) ? money(most, currency) : `${money(least, currency)} to ${money(most, currency)}`;
}

function money(amount: string, currency: string): string {
  return new Intl.NumberFormat('en', { style: 'currency', currency, currencyDisplay: 'code', maximumFractionDigits: 6 }).format(
    Number(amount),
  );
}
