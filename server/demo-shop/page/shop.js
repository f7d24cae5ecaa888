/**
 * The demo shop: a form, then one order watched by `<order-status>`, then perhaps the form again to try once more. The
 * address names the order, so a reload, a second tab and the way back from a provider's page all find it.
 */
import { delayMs, measureClock, nowMs } from "./clock.js";
import { createForm, find, money } from "./form.js";
import { recall, remember } from "./memory.js";
import { switchNetwork } from "./network.js";
import { createPanel } from "./panel.js";
import { pay, prepare, Refused, readCatalogue, readClock, readSources, watchAgain } from "./payment.js";
import { showSnippet } from "./snippet.js";

/** @import { OrderStatusElement } from "../../../client-sdk/element.ts" */
/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */
/** @import { Item } from "../catalogue.ts" */
/** @import { Measured } from "./clock.js" */
/** @import { Watched } from "./payment.js" */

const root = new URL("..", import.meta.url);
const network = switchNetwork();
// Not before its network has the switches, or it would hold on to the browser's own.
const sdk = import(new URL("sdk/tukio.js", root).href);
const panel = createPanel({ network });
const status = /** @type {OrderStatusElement} */ (find("status"));
const isWide = window.matchMedia("(min-width: 1000px)");

/** The element tells of states, not of its link, so that is looked at. */
const linkLookMs = 200;

/** @type {{ order: StatusEvent, item: string } | undefined} */
let current;
/** @type {Item[]} */
let items = [];
/** @type {ReturnType<typeof createForm> | undefined} */
let form;
/** @type {Measured | undefined} */
let clock;
/** Since when the link has been open, by this page's clock. */
let openSinceMs = Number.POSITIVE_INFINITY;

const measure = async () => {
  clock = await measureClock(readClock);
  const note = find("clock-note");
  note.hidden = clock === undefined;
  if (clock) {
    note.textContent = `“Here after” is from the database’s stamp to this page, whose clock was compared with the database’s: give or take ${Math.ceil(clock.errorMs)} ms.`;
  }
};

const lookAtLink = () => {
  const { snapshot } = status;
  if (snapshot?.connection !== "open") openSinceMs = Number.POSITIVE_INFINITY;
  else openSinceMs = Math.min(openSinceMs, nowMs());
  if (current) panel.showLink(snapshot);
};

/** @type {string | undefined} */
let lastStatus;

/** The payer has just asked for the provider's page. Whoever comes back from it is not sent there again. */
let mayLeave = false;

/** @type {StatusEvent | undefined} */
let newest;

/** @param {StatusEvent} event */
function hear(event) {
  const heardMs = nowMs();
  const wasOpenSinceMs = openSinceMs;
  lookAtLink();
  const delay = delayMs(event.occurredAt, heardMs, clock);
  // What happened before the link was open was not brought by it.
  const isBrought = delay !== undefined && heardMs - delay > wasOpenSinceMs;
  panel.add(event, isBrought ? delay : undefined);
  const wasPaid = lastStatus === "succeeded";
  lastStatus = event.status;
  if (event.status !== "succeeded") find("heard").hidden = true;
  // A receipt that is learnt later is news too, but not that it is paid.
  else if (isBrought && !wasPaid) tellDelay(event, delay);
  newest = event;
  leave();
  document.title = `${titles[event.status] ?? "News"} – Demo Shop`;
  find("answer-here").hidden = event.payment.action?.type !== "prompt";
}

/** Goes to the provider's page if the payer has asked for it and the newest event names it. */
function leave() {
  const action = newest?.payment.action;
  if (!mayLeave || newest?.status !== "processing" || newest.orderId !== current?.order.orderId) return;
  if (action?.type !== "redirect" || !/^https?:/.test(action.url)) return;
  mayLeave = false;
  location.assign(action.url);
}

/** @type {Record<string, string>} */
const titles = {
  pending: "Starting",
  processing: "Waiting for you",
  succeeded: "Paid",
  failed: "Not paid",
  expired: "Time is up",
  review: "Being checked",
};

/** @type {Record<string, string>} */
const beginnings = {
  webhook: "the webhook",
  query: "Tukio asked the provider and found out",
  reply: "the provider’s answer",
  payer: "the payer came back",
};

/**
 * How long after what brought the news this page knew. An event does not say what that was; the shop does.
 * @param {StatusEvent} event
 * @param {number} delay
 */
async function tellDelay({ orderId, version }, delay) {
  const answer = await readSources(orderId).catch(() => undefined);
  const since = beginnings[answer?.sources[version] ?? ""];
  if (since === undefined) return;
  const strong = document.createElement("strong");
  strong.textContent = `${delay} ms`;
  find("heard").replaceChildren("This page knew ", strong, ` after ${since}.`);
  find("heard").hidden = false;
}

/** @param {Watched} watched */
function watch({ order, item, watchToken }) {
  const isAgain = current?.order.id === order.id;
  current = { order, item };
  panel.watch(order.orderId);
  // The shop's answer is the first to tell.
  panel.add(order, undefined);
  const bought = items.find(({ id }) => id === item);
  find("bought").textContent = bought ? `${bought.name}, ${money(order.amountMinor, order.currency)}` : "";
  find("bought-sign").setAttribute("href", `#item-${item}`);
  find("choosing").hidden = true;
  find("paying").hidden = false;
  find("paying").focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
  if (isAgain) return;
  status.refreshToken = async () => (await watchAgain(order.orderId)).watchToken;
  status.setAttribute("url", root.href);
  status.setAttribute("order-id", order.orderId);
  status.setAttribute("token", watchToken);
}

async function submit() {
  const wish = form?.wish();
  if (!form || !wish) return;
  const { item, choice, phone } = wish;
  form.refuse(undefined);
  form.complain(undefined);
  form.setBusy(true);
  const isSame = current?.item === item.id && current.order.currency === choice.currency;
  const what = isSame && current ? { orderId: current.order.orderId } : { item: item.id };
  try {
    await sdk;
    const watched = await pay({ ...what, provider: choice.provider, ...(phone !== "" && { phone }) });
    goTo(watched.order.orderId);
    remember({ orderId: watched.order.orderId, provider: choice.provider, phone });
    mayLeave = choice.redirects && phone === "";
    watch(watched);
    // At another try the order is watched already, and its news may have come before this answer.
    leave();
    measure();
  } catch (error) {
    refuse(error);
  } finally {
    form.setBusy(false);
  }
}

/** @param {unknown} error */
function refuse(error) {
  if (!(error instanceof Refused)) {
    form?.refuse("The shop cannot be reached. Nothing was asked for, as far as we know.");
    return;
  }
  const { code, detail, order, retryAfterS } = error.problem;
  if (code === "phone_invalid") {
    form?.complain(`This ${detail.replace(/^phone: /, "")}.`);
    form?.focusPhone();
  } else if (order && current) {
    watch({ order, item: current.item, watchToken: status.getAttribute("token") ?? "" });
  } else if (code === "rate_limited") {
    const minutes = Math.ceil((retryAfterS ?? 60) / 60);
    form?.refuse(`This phone was asked often enough. Take another number, or wait ${minutes} min.`);
  } else form?.refuse(detail);
}

/** @param {string} orderId */
function goTo(orderId) {
  const address = `./?orderId=${encodeURIComponent(orderId)}`;
  if (new URL(location.href).searchParams.get("orderId") !== orderId) history.pushState(null, "", address);
}

/** The payer wants another try: the form again, as it was. */
function offerAgain() {
  find("paying").hidden = true;
  find("choosing").hidden = false;
  if (current) form?.setItem(current.item);
  find("pay").focus();
}

/** The payer's phone beside the shop, where there is room for it. */
function showPhone() {
  const number = form?.wish()?.phone ?? "";
  const tell = () => find("bezel").querySelector("iframe")?.contentWindow?.postMessage({ number }, location.origin);
  const address = `sandbox/phone?number=${encodeURIComponent(number)}`;
  for (const id of ["phone-link", "answer-link"]) /** @type {HTMLAnchorElement} */ (find(id)).href = address;
  const frame = find("bezel").querySelector("iframe");
  if (frame) {
    tell();
    // A phone that is still loading hears nothing.
    frame.onload = tell;
  } else if (isWide.matches) {
    const made = document.createElement("iframe");
    made.title = "The payer’s phone";
    made.src = address;
    // Whatever was said before that, it did not hear.
    made.addEventListener("load", showPhone);
    find("bezel").append(made);
  }
}

/** @param {string} text */
function notify(text) {
  find("notice").textContent = text;
  find("notice").hidden = false;
}

async function open() {
  const { items: all, choices } = await readCatalogue();
  items = all;
  const onChange = () => {
    if (!form) return;
    showPhone();
    const provider = form?.wish()?.choice.provider;
    if (provider !== undefined) prepareOnce(provider);
  };
  form = createForm({ items, choices, hasPhoneBeside: isWide.matches, onChange });
  onChange();
  find("choosing").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  isWide.addEventListener("change", showPhone);
  await sdk;
  const orderId = new URL(location.href).searchParams.get("orderId");
  if (orderId !== null) await resume(orderId);
}

/** @type {Set<string>} */
const prepared = new Set();

/** Fetches ahead what asking this provider takes. Without it, asking only takes longer. @param {string} provider */
function prepareOnce(provider) {
  if (prepared.has(provider)) return;
  prepared.add(provider);
  prepare(provider).catch(() => prepared.delete(provider));
}

/** @param {string} orderId */
async function resume(orderId) {
  try {
    watch(await watchAgain(orderId));
    const last = recall(orderId);
    if (last) form?.setPayer(last.provider, last.phone);
  } catch (error) {
    notify(error instanceof Refused ? "This shop does not know that order." : "The shop cannot be reached.");
  }
}

status.addEventListener("statuschange", ({ detail }) => hear(detail));
status.addEventListener("tryagain", offerAgain);
window.addEventListener("popstate", () => location.reload());
setInterval(() => document.hidden || lookAtLink(), linkLookMs);
measure();
showSnippet({ code: find("snippet"), copy: find("copy"), hint: find("snippet-hint") });
open().catch((error) => {
  console.error(error);
  notify("The shop cannot be opened: is the SDK built? Run npm run build:sdk, and reload.");
});
