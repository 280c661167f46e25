import {
  ActionIcon,
  Alert,
  Badge,
  Button,
  createTheme,
  Menu,
  Modal,
  Notification,
  Tooltip,
  type MantineColorsTuple,
} from '@mantine/core';

/** The green of weathered copper roofs: the one colour of action. */
const verdigris: MantineColorsTuple = [
  '#e9f5f3', '#d3e8e5', '#a6d2cc', '#77bab2', '#4ea39a',
  '#328a82', '#1f746e', '#12605f', '#0d4f4f', '#083c3d',
];
/** Neutrals with a trace of green, so that greys and the accent belong together. */
const dark: MantineColorsTuple = [
  '#e3e9e8', '#b9c3c2', '#94a09f', '#677473', '#3b4747',
  '#2c3737', '#222c2c', '#192222', '#121919', '#0c1212',
];
const gray: MantineColorsTuple = [
  '#f7f9f8', '#f0f3f2', '#e4e9e8', '#d6dddb', '#c3ccca',
  '#a3aeac', '#788583', '#546160', '#37423f', '#1d2626',
];
const red: MantineColorsTuple = [
  '#fdeeec', '#f9dbd7', '#f0b3ab', '#e7887c', '#df6455',
  '#d24a39', '#b93a2a', '#9f2f21', '#83271b', '#671d14',
];
const ochre: MantineColorsTuple = [
  '#fdf5e4', '#faeacb', '#f2d395', '#eabb5c', '#e2a52f',
  '#c98a14', '#a66f0b', '#865907', '#6b4706', '#503504',
];

export const theme = createTheme({
  colors: { verdigris, dark, gray, red, ochre },
  primaryColor: 'verdigris',
  primaryShade: { light: 7, dark: 6 },
  autoContrast: false,
  fontFamily: "'Hanken Grotesk Variable', 'Noto Sans SC', 'PingFang SC', system-ui, sans-serif",
  fontFamilyMonospace: "'JetBrains Mono Variable', ui-monospace, monospace",
  headings: { fontFamily: "'Hanken Grotesk Variable', system-ui, sans-serif", fontWeight: '620' },
  fontSizes: { xs: '12px', sm: '14px', md: '15px', lg: '17px', xl: '20px' },
  defaultRadius: 'md',
  radius: { xs: '4px', sm: '6px', md: '8px', lg: '12px', xl: '18px' },
  cursorType: 'pointer',
  focusRing: 'auto',
  respectReducedMotion: true,
  components: {
    Button: Button.extend({ defaultProps: { fw: 580 } }),
    ActionIcon: ActionIcon.extend({ defaultProps: { size: 34 } }),
    Alert: Alert.extend({ defaultProps: { radius: 'md' } }),
    Badge: Badge.extend({ defaultProps: { tt: 'none', fw: 550, variant: 'light', color: 'gray' } }),
    Menu: Menu.extend({ defaultProps: { shadow: 'md', radius: 'md', position: 'bottom-end', withInitialFocusPlaceholder: false } }),
    Modal: Modal.extend({
      defaultProps: {
        radius: 'lg',
        padding: 'lg',
        overlayProps: { backgroundOpacity: 0.4, blur: 2 },
        closeButtonProps: { 'aria-label': 'Close' },
        transitionProps: { transition: 'pop', duration: 140 },
      },
    }),
    Notification: Notification.extend({ defaultProps: { closeButtonProps: { 'aria-label': 'Dismiss' } } }),
    Tooltip: Tooltip.extend({ defaultProps: { withArrow: true, openDelay: 250, events: { hover: true, focus: true, touch: false } } }),
  },
});
