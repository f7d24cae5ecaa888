/** The addresses of the screens. Each screen is a file of its own that the browser loads when it is opened. */
import {
  createRootRoute,
  createRoute,
  createRouter,
  type ErrorComponentProps,
  Link,
  lazyRouteComponent,
} from "@tanstack/react-router";
import type { ReactNode } from "react";
import { deskPath } from "./api/address.ts";
import { orderFilters } from "./api/filter.ts";
import { Frame } from "./part/frame.tsx";
import { Failure, Loading } from "./part/state.tsx";

const root = createRootRoute({ component: Frame });
const getParentRoute = () => root;

const screens = [
  createRoute({ getParentRoute, path: "/", component: lazyRouteComponent(() => import("./screen/today.tsx")) }),
  createRoute({
    getParentRoute,
    path: "/orders",
    validateSearch: orderFilters,
    component: lazyRouteComponent(() => import("./screen/orders.tsx")),
  }),
  createRoute({
    getParentRoute,
    path: "/orders/$orderId",
    component: lazyRouteComponent(() => import("./screen/order.tsx")),
  }),
  createRoute({
    getParentRoute,
    path: "/needs-you",
    component: lazyRouteComponent(() => import("./screen/needs-you.tsx")),
  }),
] as const;

const Missing = (): ReactNode => (
  <>
    <header className="page-head">
      <h1>There is no such page</h1>
    </header>
    <Link to="/">Go to Today</Link>
  </>
);

const Broken = ({ error, reset }: ErrorComponentProps): ReactNode => <Failure error={error} onRetry={reset} />;

/** Filters stand in the address as plain text: `?status=failed`. */
const parseSearch = (search: string): Record<string, string> => Object.fromEntries(new URLSearchParams(search));

function stringifySearch(search: Record<string, unknown>): string {
  const texts = Object.entries(search).filter((one): one is [string, string] => typeof one[1] === "string");
  return texts.length === 0 ? "" : `?${new URLSearchParams(texts)}`;
}

export const router = createRouter({
  routeTree: root.addChildren(screens),
  basepath: deskPath,
  parseSearch,
  stringifySearch,
  scrollRestoration: true,
  defaultPreload: "intent",
  defaultNotFoundComponent: Missing,
  defaultErrorComponent: Broken,
  defaultPendingComponent: () => <Loading />,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
