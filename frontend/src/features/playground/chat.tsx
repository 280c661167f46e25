import { ActionIcon, Button, Textarea, Tooltip } from '@mantine/core';
import { IconAdjustmentsHorizontal, IconPlayerStopFilled, IconSend2 } from '@tabler/icons-react';
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';
import type { DeployConfiguration } from '@/lib/api/types';
import { ChatMessage } from './chat-message';
import classes from './chat.module.css';
import { NO_SAMPLING } from './conversation';
import { SamplingDrawer } from './sampling-drawer';
import { useChat } from './use-chat';

interface ChatProps {
  modelId: string;
  name: string;
  revision: number;
  /** Whether the model knows turns of a conversation; without a chat template it continues a text. */
  chat: boolean;
  defaults: DeployConfiguration['parameters'] | null;
}

const END_TOLERANCE_PX = 48;

/** A conversation: Enter sends, Shift+Enter begins a new line. */
export function Chat({ modelId, name, revision, chat, defaults }: ChatProps) {
  const { messages, busy, send, retry, stop, clear } = useChat(modelId, chat);
  const [text, setText] = useState('');
  const [sampling, setSampling] = useState(NO_SAMPLING);
  const [adjusting, setAdjusting] = useState(false);
  const log = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const atEnd = useRef(true);

  useEffect(() => {
    if (atEnd.current && log.current) log.current.scrollTop = log.current.scrollHeight;
  }, [messages]);

  const submit = () => {
    if (busy || text.trim() === '') return;
    atEnd.current = true;
    send(text.trim(), sampling);
    setText('');
  };

  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a character, Enter belongs to it.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  };

  return (
    <section className={classes.root} aria-label={`Conversation with ${name}`}>
      <div className={classes.bar}>
        <span className={classes.revision}>Revision {revision}</span>
        <Button variant="subtle" size="xs" color="gray" disabled={messages.length === 0} onClick={clear}>
          New conversation
        </Button>
        <Button
          variant="default"
          size="xs"
          leftSection={<IconAdjustmentsHorizontal size={16} aria-hidden />}
          onClick={() => setAdjusting(true)}
        >
          Parameters
        </Button>
      </div>
      {/* A region that scrolls must be reachable by keyboard. */}
      {/* eslint-disable jsx-a11y/no-noninteractive-tabindex */}
      <div
        ref={log}
        className={classes.log}
        role="log"
        aria-label="Messages"
        aria-busy={busy}
        tabIndex={0}
        onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
          atEnd.current = scrollHeight - scrollTop - clientHeight < END_TOLERANCE_PX;
        }}
      >
        {/* eslint-enable jsx-a11y/no-noninteractive-tabindex */}
        {messages.length === 0 ? (
          <div className={classes.empty}>
            <p className={classes.invitation}>{chat ? `Say something to ${name}` : `Give ${name} a text to continue`}</p>
            <p className={classes.note}>
              {chat
                ? 'The conversation stays in this tab and is gone when you leave the page.'
                : 'This model has no chat template, so each message is continued for itself, without the ones before.'}
            </p>
          </div>
        ) : (
          messages.map((message, index) => (
            <ChatMessage
              key={message.id}
              message={message}
              name={name}
              {...(index === messages.length - 1 && !busy && message.role === 'assistant' && { onRetry: () => retry(sampling) })}
            />
          ))
        )}
      </div>
      <div className={classes.composer}>
        <Textarea
          ref={input}
          className={classes.input}
          aria-label="Your message"
          placeholder={chat ? 'Your message' : 'Once upon a time'}
          description="Enter sends, Shift+Enter begins a new line"
          inputWrapperOrder={['input', 'description']}
          autosize
          autoFocus
          minRows={1}
          maxRows={8}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
          onKeyDown={onKeyDown}
        />
        {busy ? (
          <Tooltip label="Stop the answer">
            <ActionIcon
              size={38}
              variant="default"
              aria-label="Stop the answer"
              onClick={() => {
                stop();
                input.current?.focus();
              }}
            >
              <IconPlayerStopFilled size={17} aria-hidden />
            </ActionIcon>
          </Tooltip>
        ) : (
          <Tooltip label="Send">
            <ActionIcon size={38} aria-label="Send the message" disabled={text.trim() === ''} onClick={submit}>
              <IconSend2 size={19} aria-hidden />
            </ActionIcon>
          </Tooltip>
        )}
      </div>
      <SamplingDrawer
        opened={adjusting}
        onClose={() => setAdjusting(false)}
        sampling={sampling}
        onChange={setSampling}
        defaults={defaults}
        chat={chat}
      />
    </section>
  );
}
