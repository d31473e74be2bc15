// A list of any length: only the lines in sight, and some around them, are in the document.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface Props<T> {
  label: string;
  items: readonly T[];
  /** Of a line, in pixels. */
  height: number;
  keyOf: (item: T) => string | number;
  line: (item: T) => ComponentChildren;
  /** Called where the end comes into sight. */
  atEnd?: () => void;
  /** Stays above the lines. */
  head?: ComponentChildren;
  /** Whether the list stays at its first line when new ones come before it. */
  pinned?: boolean;
}

const AROUND = 12;

export function VirtualList<T>({ label, items, height, keyOf, line, atEnd, head, pinned }: Props<T>) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [room, setRoom] = useState(600);
  const first = Math.max(0, Math.floor(top / height) - AROUND);
  const last = Math.min(items.length, Math.ceil((top + room) / height) + AROUND);
  useEffect(() => {
    if (!box.current) return;
    const watch = new ResizeObserver(() => setRoom(box.current?.clientHeight ?? 600));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    if (atEnd && items.length > 0 && last >= items.length - AROUND) atEnd();
  }, [last, items.length]);
  useEffect(() => {
    if (pinned && box.current) box.current.scrollTop = 0;
  }, [items, pinned]);
  return (
    <div ref={box} class="virtual" tabIndex={0} role="region" aria-label={label} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
      {head}
      <ol style={{ height: `${items.length * height}px` }}>
        {items.slice(first, last).map((item, at) => (
          <li key={keyOf(item)} style={{ transform: `translateY(${(first + at) * height}px)`, height: `${height}px` }} aria-setsize={items.length} aria-posinset={first + at + 1}>
            {line(item)}
          </li>
        ))}
      </ol>
    </div>
  );
}
