// A part that is drawn again only when what it is given differs, as its `same` says.

import { Component, h, type ComponentType, type VNode } from "preact";

export function memo<P extends object>(part: (props: P) => VNode | null, same: (before: P, after: P) => boolean): ComponentType<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      return !same(this.props as P, next as P);
    }
    override render(): VNode {
      return h(part as never, this.props as never);
    }
  };
}
