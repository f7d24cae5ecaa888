/**
 * The types of `<order-status>` in JSX. React 18 reads the global `JSX`, React 19 and other versions with `React.JSX` read
 * the module `react`. A project without React has no such module, so TypeScript must ignore its declaration there.
 */
import type { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";
import type { WatchOptions } from "./watch.ts";

/** The attributes of `<order-status>`, in every framework. */
export interface OrderStatusAttributes {
  url?: string | undefined;
  "order-id"?: string | undefined;
  token?: string | undefined;
  lang?: string | undefined;
  "time-zone"?: string | undefined;
  /** Names, best first, such as `websocket longpoll`. */
  transports?: string | undefined;
  /** The merchant's name. */
  merchant?: string | undefined;
  /** The item that the payer buys. */
  item?: string | undefined;
  /** The payer's number, in any form. The element shows the parts that identify it. */
  phone?: string | undefined;
  /** The shop's contact: a phone number, an email address, a URL or another text. */
  contact?: string | undefined;
  /** The address of the page to try again. */
  "retry-url"?: string | undefined;
}

/**
 * React 19 also sets a property, and listeners of the element's events. React 18 ignores them, and React 19 does not set
 * them when it hydrates a page that the server rendered: use an effect there.
 */
export interface OrderStatusProperties {
  refreshToken?: WatchOptions["refreshToken"];
  onstatuschange?: ((event: CustomEvent<StatusEvent>) => void) | undefined;
  ontryagain?: ((event: CustomEvent<StatusEvent>) => unknown) | undefined;
  onwatcherror?: ((event: CustomEvent<WatchError>) => void) | undefined;
}

/** The element's class. By its tag name, because its module imports this one. */
type Element = HTMLElementTagNameMap["order-status"];

/** Without the types of React, which the global `JSX` must not need. */
interface GlobalAttributes extends OrderStatusAttributes {
  id?: string | undefined;
  class?: string | undefined;
  className?: string | undefined;
  style?: unknown;
  hidden?: unknown;
  slot?: string | undefined;
  key?: unknown;
  ref?: unknown;
  children?: unknown;
}

declare global {
  namespace JSX {
    interface IntrinsicElements {
      "order-status": GlobalAttributes;
    }
  }
}

// biome-ignore lint/suspicious/noTsIgnore: a project without React ignores an error, a project with React has none.
/** @ts-ignore */
type Html = import("react").DetailedHTMLProps<import("react").HTMLAttributes<Element>, Element>;

// biome-ignore lint/suspicious/noTsIgnore: the same.
/** @ts-ignore */
declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "order-status": Html & OrderStatusAttributes & OrderStatusProperties;
    }
  }
}
