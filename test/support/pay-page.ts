/** The browser of a payer on the page of a payment link, without scripts: it keeps the page's cookie and follows its redirects. */
import { expect, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { asMerchant, type TestNode } from "./node.ts";

export interface PayPage {
  status: number;
  headers: Headers;
  html: string;
}

export interface PayBrowser {
  /** Opens the page. `search`: its query. */
  open(search?: string): Promise<PayPage>;
  /** Sends the form. A redirect is not followed. */
  send(form: Record<string, string>, headers?: Record<string, string>, search?: string): Promise<PayPage>;
  /** The same browser at another node. */
  at(node: Pick<TestNode, "url">): PayBrowser;
  /** The name and value of the page's cookie. */
  cookie(): string | undefined;
}

/** `url`: the link's. The browser asks `node`, because the URL may have another host. */
export function createPayBrowser(node: Pick<TestNode, "url">, url: string): PayBrowser {
  let cookie: string | undefined;
  const { pathname } = new URL(url);

  const browserAt = (nodeUrl: string): PayBrowser => {
    const request = async (search: string, init: RequestInit): Promise<PayPage> => {
      const headers = { ...(cookie !== undefined && { cookie }), ...(init.headers as Record<string, string>) };
      const answer = await fetch(nodeUrl + pathname + search, { ...init, headers, redirect: "manual" });
      cookie = answer.headers.get("set-cookie")?.split(";")[0] ?? cookie;
      return { status: answer.status, headers: answer.headers, html: await answer.text() };
    };
    return {
      open: (search = "") => request(search, { headers: { accept: "text/html" } }),
      send: (form, headers = {}, search = "") =>
        request(search, {
          method: "POST",
          body: new URLSearchParams(form),
          headers: { accept: "text/html", "sec-fetch-site": "same-origin", ...headers },
        }),
      at: (other) => browserAt(other.url),
      cookie: () => cookie,
    };
  };
  return browserAt(node.url);
}

/** Sends the form and expects that a payment was started. */
export async function payOnPage(browser: PayBrowser, form: Record<string, string>, search = ""): Promise<void> {
  const answer = await browser.send(form, {}, search);
  expect([answer.status, answer.html]).toEqual([303, ""]);
}

/** Resolves with the order once it is settled. */
export async function settledOrder(node: TestNode, orderId: string): Promise<StatusEvent> {
  const { body } = await asMerchant(node, `/v1/orders/${orderId}/wait?timeout=30`);
  const event = body as unknown as StatusEvent;
  expect(event).toMatchObject({ settled: true });
  return event;
}

/** Resolves with the order once it has this status. */
export const orderWith = (node: TestNode, orderId: string, status: string): Promise<StatusEvent> =>
  vi.waitUntil(async () => {
    const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
    return body.order?.status === status && body.order;
  });
