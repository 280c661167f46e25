interface LogoProps {
  size?: number;
}

/** Two arches under a cornice, a lamp between them. */
export function Logo({ size = 28 }: LogoProps) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden focusable="false">
      <path
        d="M5 26V14.500a4.500 4.500 0 0 1 9 0V26M18 26V14.500a4.500 4.500 0 0 1 9 0V26M3 26h26M3 5h26"
        fill="none"
        stroke="currentColor"
        strokeWidth="2.200"
        strokeLinecap="round"
      />
      <circle cx="16" cy="12" r="1.700" fill="#e8b04b" />
    </svg>
  );
}
