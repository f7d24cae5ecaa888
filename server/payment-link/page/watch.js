/** Follows the payment with `<order-status>`. Without this script, the page shows the state as text and reloads. */
import { keep, take } from "./memory.js";

/** @typedef {{ version: number, epoch?: number, status: string, settled: boolean, payment: { action?: { type: string, url?: string } } }} State */

const main = /** @type {HTMLElement} */ (document.querySelector("main"));

/** Opens this page again, and keeps the number. Not `reload`, which may send the form again. */
function openAgain() {
  const phone = /** @type {HTMLInputElement | null} */ (document.getElementById("phone"));
  if (phone?.value) keep("phone", phone.value);
  location.replace(location.href.replace(/#.*/, ""));
}

/** Whether a state is newer than the one in the page, which is `version` in the first epoch, else `epoch.version`. @param {State} state */
function isNews({ epoch = 0, version }) {
  const [shown = 0, shownEpoch = 0] = (main.dataset.version || "").split(".").map(Number).reverse();
  return epoch > shownEpoch || (epoch === shownEpoch && version > shown);
}

/** @param {HTMLElement} element */
function watch(element) {
  element.addEventListener("statuschange", (event) => {
    const state = /** @type {CustomEvent<State>} */ (event).detail;
    // Hidden beside the form, which is for the state in the page.
    if (!element.hidden) show(element, state);
    else if (isNews(state)) openAgain();
  });
}

/** @param {HTMLElement} element @param {State} state */
function show(element, { status, settled, payment: { action } }) {
  main.classList.add("is-live");
  main.dataset.status = status;
  if (status === "succeeded") take("phone");
  requestAnimationFrame(() => {
    const title = element.shadowRoot?.querySelector("[part=title]")?.textContent;
    if (title) document.title = `${title} – ${element.getAttribute("merchant")}`;
  });
  const url = status === "processing" && action?.type === "redirect" && action.url;
  // Once, and only in the tab that sent the form: the payer may have returned from the provider's page.
  if ((url || settled) && take("sent") && url && /^https?:/i.test(url)) location.assign(url);
}

/** Requests the page until its state is another one: for a payment that this browser cannot watch, or may not, and for a plan. */
function poll() {
  const { version, refresh } = main.dataset;
  const check = async () => {
    if (document.hidden || main.classList.contains("is-live")) return;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = await answer.text();
      if (answer.ok && !page.includes(` data-version="${version}"`)) openAgain();
    } catch {
      // Offline: a later request may succeed.
    }
  };
  setInterval(check, Number(refresh) * 1000);
  document.addEventListener("visibilitychange", check);
}

const element = /** @type {HTMLElement | null} */ (document.querySelector("order-status"));
if (element) watch(element);
if (main.dataset.refresh) poll();
