/** A React page in Strict Mode that shows the result of `useOrderStatus`. react.test.ts bundles it. */
import { createElement, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { longPoll } from "../../client-sdk/index.ts";
import { type OrderStatusOptions, useOrderStatus } from "../../client-sdk/react.ts";

interface Page {
  document: { querySelector(selector: string): Element };
  /** Set by the test. */
  options: OrderStatusOptions;
  show(options: OrderStatusOptions | undefined): void;
  renders: string[];
}

const page = globalThis as unknown as Page;
page.renders = [];

function Status(options: OrderStatusOptions): string {
  const { event, connection, error } = useOrderStatus({ ...options, transports: [longPoll()] });
  const text = `${options.orderId} ${event?.orderId ?? "-"} ${event?.status ?? "-"} ${connection} ${error?.code ?? "-"}`;
  page.renders.push(text);
  return text;
}

function App() {
  const [options, setOptions] = useState<OrderStatusOptions | undefined>(page.options);
  page.show = setOptions;
  return options ? createElement(Status, options) : "nothing";
}

createRoot(page.document.querySelector("#root")).render(createElement(StrictMode, null, createElement(App)));
