/**
 * The demo shop. It shows a form, then one order in `<order-status>`, then the form again for another attempt. The URL
 * contains the order id, so a reload, a second tab and the return from a provider's page show the same order.
 */
import { delayMs, delayText, measureClock, nowMs } from "./clock.js";
import { createForm, find } from "./form.js";
import { recall, remember } from "./memory.js";
import { createMessages } from "./messages.js";
import { switchNetwork } from "./network.js";
import { createPanel } from "./panel.js";
import { createPayLink } from "./pay-link.js";
import { pay, prepare, Refused, readCatalogue, readClock, readSources, watchAgain } from "./payment.js";
import { createPhone } from "./phone-frame.js";
import { createPlanButton } from "./plan.js";
import { showSent } from "./sent.js";
import { showSnippet } from "./snippet.js";

/** @import { OrderStatusElement } from "../../../client-sdk/element.ts" */
/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */
/** @import { Item } from "../catalogue.ts" */
/** @import { Measured } from "./clock.js" */
/** @import { Watched } from "./payment.js" */

const root = new URL("..", import.meta.url);
const network = switchNetwork();
// Loaded after the switches are in place, because the SDK would otherwise use the browser's own network functions.
const sdk = import(new URL("sdk/tukio.js", root).href);
const panel = createPanel({ network });
const messages = createMessages();
const status = /** @type {OrderStatusElement} */ (find("status"));
const isWide = window.matchMedia("(min-width: 1000px)");
const phone = createPhone();

const payLink = createPayLink({
  selection() {
    const selection = form?.selection();
    return selection && { item: selection.item.id, provider: selection.choice.provider };
  },
  onError: showRefusal,
});

const plan = createPlanButton({
  selection() {
    const selection = form?.selection();
    if (!selection) return undefined;
    const { item, choice, phone: number } = selection;
    return { item: item.id, provider: choice.provider, ...(number !== "" && { phone: number }) };
  },
  onError: showRefusal,
});

/** Polls the connection every 200 ms, because the element has no event for it. */
const linkCheckMs = 200;

/** @type {{ order: StatusEvent, item: string } | undefined} */
let current;
/** @type {Item[]} */
let items = [];
/** @type {ReturnType<typeof createForm> | undefined} */
let form;
/** @type {Measured | undefined} */
let clock;
/** When the link opened, by this page's clock. */
let openSinceMs = Number.POSITIVE_INFINITY;

const measure = async () => {
  clock = await measureClock(readClock);
  const note = find("clock-note");
  note.hidden = clock === undefined;
  if (clock) {
    note.textContent = `The delay is the time from the database’s timestamp to this page. The page compared its clock with the database’s, to within ${Math.ceil(clock.errorMs)} ms.`;
  }
};

const checkLink = () => {
  const { snapshot } = status;
  if (snapshot?.connection !== "open") openSinceMs = Number.POSITIVE_INFINITY;
  else openSinceMs = Math.min(openSinceMs, nowMs());
  if (current) panel.showLink(snapshot);
};

/** @type {string | undefined} */
let lastStatus;

/** True from the payment until the redirect, so that a payer who returns is not redirected again. */
let mayRedirect = false;

/** @type {StatusEvent | undefined} */
let newest;

/** @param {StatusEvent} event */
function onStatusChange(event) {
  const receivedMs = nowMs();
  const wasOpenSinceMs = openSinceMs;
  checkLink();
  const delay = delayMs(event.occurredAt, receivedMs, clock);
  // The delay says nothing about an event from before the link was open.
  const isLive = delay !== undefined && receivedMs - delay > wasOpenSinceMs;
  panel.add(event, isLive ? delayText(delay, clock, "<") : undefined);
  messages.show(event);
  const wasPaid = lastStatus === "succeeded";
  lastStatus = event.status;
  if (event.status !== "succeeded") find("delay").hidden = true;
  // Not for a later version that only adds the receipt.
  else if (isLive && !wasPaid) showDelay(event, delay);
  newest = event;
  // The money of an earlier attempt has arrived while the payer was about to pay again.
  if (find("paying").hidden && (event.status === "succeeded" || event.status === "review")) showCard();
  redirect();
  document.title = `${titles[event.status] ?? "Payment"} – Tukio Demo Shop`;
  const isOnPhone = event.payment.action?.type === "redirect" && Boolean(recall(event.orderId)?.phone);
  find("on-phone").hidden = !isOnPhone;
  phone.onEvent(event, isOnPhone);
}

/** Redirects to the provider's page, once per payment, when the newest event has its address. */
function redirect() {
  const action = newest?.payment.action;
  if (!mayRedirect || newest?.status !== "processing" || newest.orderId !== current?.order.orderId) return;
  if (action?.type !== "redirect" || !/^https?:/.test(action.url)) return;
  mayRedirect = false;
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
const sources = {
  webhook: "the webhook",
  query: "Tukio queried the provider",
  reply: "the provider’s answer",
  payer: "the payer returned",
};

/**
 * Shows the delay and the source of an event. The source is not part of the event, so the shop's route provides it.
 * @param {StatusEvent} event
 * @param {number} delay
 */
async function showDelay({ orderId, version }, delay) {
  const answer = await readSources(orderId).catch(() => undefined);
  const source = sources[answer?.sources[version] ?? ""];
  if (source === undefined) return;
  const strong = document.createElement("strong");
  strong.textContent = delayText(delay, clock, "less than");
  find("delay").replaceChildren("This page showed the payment ", strong, ` after ${source}.`);
  find("delay").hidden = false;
}

/** @param {string} name @param {string | undefined} value */
const setAttribute = (name, value) => (value ? status.setAttribute(name, value) : status.removeAttribute(name));

/** Shows the order instead of the form. */
function showCard() {
  find("choosing").hidden = true;
  find("paying").hidden = false;
  find("paying").focus({ preventScroll: true });
  // On a narrow screen, the header leaves its place to the payment and the phone.
  if (isWide.matches) window.scrollTo({ top: 0 });
  else find("paying").scrollIntoView();
}

/** @param {Watched} watched */
function watch({ order, item, watchToken }) {
  const isAgain = current?.order.id === order.id;
  current = { order, item };
  panel.watch(order.orderId);
  // The shop's answer already contains a state.
  panel.add(order, undefined);
  messages.show(order);
  setAttribute("item", items.find(({ id }) => id === item)?.name);
  setAttribute("phone", recall(order.orderId)?.phone);
  showSent(recall(order.orderId));
  showCard();
  if (isAgain) return;
  status.refreshToken = async () => (await watchAgain(order.orderId)).watchToken;
  status.setAttribute("url", root.href);
  status.setAttribute("order-id", order.orderId);
  status.setAttribute("token", watchToken);
}

async function submit() {
  const selection = form?.selection();
  if (!form || !selection) return;
  const { item, choice, phone: number, email } = selection;
  form.showError(undefined);
  form.showPhoneError(undefined);
  if (!form.checkEmail()) return;
  form.setBusy(true);
  const isSame = current?.item === item.id && current.order.currency === choice.currency;
  const goods = isSame && current ? { orderId: current.order.orderId } : { item: item.id };
  try {
    await sdk;
    const payer = { ...(number !== "" && { phone: number }), ...(email !== "" && { email }) };
    const watched = await pay({ ...goods, provider: choice.provider, ...payer });
    goTo(watched.order.orderId);
    remember({ orderId: watched.order.orderId, provider: choice.provider, phone: number, email });
    mayRedirect = choice.redirects && number === "";
    watch(watched);
    // In another attempt the order is watched already, so its event may have arrived before this answer.
    redirect();
    measure();
  } catch (error) {
    showRefusal(error);
  } finally {
    form.setBusy(false);
  }
}

/** @param {unknown} error */
function showRefusal(error) {
  if (!(error instanceof Refused)) {
    form?.showError("The shop cannot be reached. No payment has started, as far as this page knows.");
    return;
  }
  const { code, detail, order, retryAfterS } = error.problem;
  if (code === "phone_invalid") {
    form?.showPhoneError(`This ${detail.replace(/^phone: /, "")}.`);
    form?.focusPhone();
  } else if (order && current) {
    watch({ order, item: current.item, watchToken: status.getAttribute("token") ?? "" });
  } else if (code === "rate_limited") {
    const minutes = Math.ceil((retryAfterS ?? 60) / 60);
    form?.showError(`This phone number has too many payments. Use another number, or wait ${minutes} min.`);
  } else form?.showError(detail);
}

/** @param {string} orderId */
function goTo(orderId) {
  const address = `./?orderId=${encodeURIComponent(orderId)}`;
  if (new URL(location.href).searchParams.get("orderId") !== orderId) history.pushState(null, "", address);
}

/** Shows the form again, unchanged, for another attempt. */
function showFormAgain() {
  find("paying").hidden = true;
  find("choosing").hidden = false;
  if (current) form?.setItem(current.item);
  phone.show(false);
  find("pay").focus();
}

/** @param {string} text */
function notify(text) {
  find("notice").textContent = text;
  find("notice").hidden = false;
}

async function open() {
  const { items: all, choices, hasClock } = await readCatalogue();
  items = all;
  plan.showClock(hasClock);
  const onChange = () => {
    if (!form) return;
    phone.setNumber(form.selection()?.phone ?? "");
    payLink.hide();
    plan.hide();
    const provider = form?.selection()?.choice.provider;
    if (provider !== undefined) prepareOnce(provider);
  };
  form = createForm({ items, choices, onChange });
  onChange();
  find("choosing").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  await sdk;
  const orderId = new URL(location.href).searchParams.get("orderId");
  if (orderId !== null) await resume(orderId);
}

/** @type {Set<string>} */
const prepared = new Set();

/** Refreshes this provider's access token ahead, once. A failure only makes the payment start later. @param {string} provider */
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
    notify(error instanceof Refused ? "This shop has no such order." : "The shop cannot be reached.");
  }
}

status.addEventListener("statuschange", ({ detail }) => onStatusChange(detail));
// A listener that is added before the element is registered does not show its button.
status.ontryagain = showFormAgain;
window.addEventListener("popstate", () => location.reload());
setInterval(() => document.hidden || checkLink(), linkCheckMs);
measure();
showSnippet({ code: find("snippet"), copy: find("copy"), hint: find("snippet-hint") });
open().catch((error) => {
  console.error(error);
  notify("The shop cannot open. If the SDK is not built, run npm run build:sdk and reload.");
});
