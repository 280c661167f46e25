import { ActionIcon, Button, Indicator, Popover, ScrollArea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconBell } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { RelativeTime } from '@/components/relative-time';
import classes from './notification-bell.module.css';
import { notificationStore, useNotices, type Notice } from './notification-store';

export function NotificationBell() {
  const { notices, readUpTo } = useNotices();
  const [opened, popover] = useDisclosure(false, { onOpen: () => notificationStore.markRead() });
  const unread = notices.filter(({ position }) => position > readUpTo).length;

  return (
    <Popover
      opened={opened}
      onChange={(open) => !open && popover.close()}
      position="bottom-end"
      width={380}
      shadow="lg"
      radius="lg"
      trapFocus
      returnFocus
    >
      <Indicator
        label={unread > 9 ? '9+' : unread}
        disabled={unread === 0}
        size={17}
        offset={6}
        color="ochre.4"
        classNames={{ indicator: classes.count }}
      >
        <Popover.Target>
          <ActionIcon
            variant="subtle"
            aria-label={unread === 0 ? 'Notifications' : `Notifications, ${unread} new`}
            onClick={popover.toggle}
          >
            <IconBell size={20} stroke={1.8} aria-hidden />
          </ActionIcon>
        </Popover.Target>
      </Indicator>
      <Popover.Dropdown p={0} className={classes.dropdown} aria-label="Notifications">
        <div className={classes.head}>
          <h2 className={classes.heading}>Notifications</h2>
          {notices.length > 0 && (
            <Button variant="subtle" size="compact-sm" onClick={() => notificationStore.clear()}>
              Clear all
            </Button>
          )}
        </div>
        {notices.length === 0 ? (
          <p className={classes.none}>Nothing yet. Outcomes of imports and deployments are kept here.</p>
        ) : (
          <ScrollArea.Autosize mah={440}>
            <ul className={classes.list}>
              {notices.map((notice) => (
                <NoticeItem key={notice.position} notice={notice} onFollow={popover.close} />
              ))}
            </ul>
          </ScrollArea.Autosize>
        )}
      </Popover.Dropdown>
    </Popover>
  );
}

function NoticeItem({ notice, onFollow }: { notice: Notice; onFollow: () => void }) {
  return (
    <li className={classes.item} data-tone={notice.tone}>
      <div className={classes.title}>
        {notice.modelId === null ? (
          notice.title
        ) : (
          <Link to="/models/$modelId" params={{ modelId: notice.modelId }} onClick={onFollow} className={classes.link}>
            {notice.title}
          </Link>
        )}
      </div>
      <div className={classes.detail}>{notice.detail}</div>
      <div className={classes.time}>
        <RelativeTime time={notice.time} />
      </div>
    </li>
  );
}
