export default function MarketplacePage() {
  return null;
}
