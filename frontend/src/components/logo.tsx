interface LogoProps {
  size?: number;
}

/** Two arches under a cornice, a lamp between them. */
export function Logo({ size = 28 }: LogoProps) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden focusable="false">
      <path
        d="M4 26.500V14a4.200 4.200 0 0 1 8.400 0v12.500M19.600 26.500V14a4.200 4.200 0 0 1 8.400 0v12.500M2 26.500h28M2 5.200h28"
        fill="none"
        stroke="currentColor"
        strokeWidth="2.200"
        strokeLinecap="round"
      />
      <circle cx="16" cy="11.600" r="1.900" fill="#e8b04b" />
    </svg>
  );
}
