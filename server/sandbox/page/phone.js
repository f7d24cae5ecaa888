/**
 * The payer's phone: shows the prompts of one number and sends the answers. The server sends the whole state in each message
 * of one stream, which is closed while the page is hidden. In the demo shop's frame, the shop sets the number with a
 * message.
 */

/** @typedef {{ id: string, title: string, amountMinor: number, currency: string }} Prompt */
/** @typedef {{ prompts: Prompt[], answersItself: boolean }} View */
/** @typedef {"approve" | "cancel" | "wrong_pin" | "insufficient_funds"} Answer */

/** @type {<E extends HTMLElement = HTMLElement>(id: string) => E} */
const find = (id) => {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no #${id}`);
  return /** @type {any} */ (element);
};

const root = new URL("..", import.meta.url);
const number = /** @type {HTMLInputElement} */ (find("number"));
const pin = /** @type {HTMLInputElement} */ (find("pin"));
const pay = /** @type {HTMLButtonElement} */ (find("pay"));
const screens = { idle: find("idle"), prompt: find("prompt"), done: find("done") };

const pinLengthMin = 4;
const wrongPin = "0000";

/** The screen after each answer. */
const outcomes = {
  approve: {
    tone: "good",
    sign: "M16 24.5l5.5 5.5L32.5 18.5",
    title: "Sent",
    text: "The shop is notified in a moment.",
  },
  wrong_pin: { tone: "bad", sign: "M18 18l12 12M30 18L18 30", title: "Wrong PIN", text: "No money was taken." },
  cancel: { tone: "quiet", sign: "M18 18l12 12M30 18L18 30", title: "Cancelled", text: "No money was taken." },
  insufficient_funds: {
    tone: "bad",
    sign: "M24 14v13M24 33.5v.5",
    title: "Not enough money",
    text: "No money was taken.",
  },
};

/** @type {Prompt | undefined} */
let shown;
/** @type {EventSource | undefined} */
let stream;

/** @param {keyof typeof screens} name */
function showScreen(name) {
  for (const [other, element] of Object.entries(screens)) element.hidden = other !== name;
}

/** @param {Prompt} prompt */
function money({ amountMinor, currency }) {
  const format = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "code" });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(amountMinor / 10 ** digits);
}

/** @param {View} view */
function show({ prompts, answersItself }) {
  const [first] = prompts;
  find("link").textContent = "";
  find("count").textContent = prompts.length > 1 ? `1 of ${prompts.length}` : "";
  find("automatic").hidden = !answersItself;
  if (first?.id === shown?.id) return;
  const wasShown = shown;
  shown = first;
  if (first) showPrompt(first);
  else if (wasShown && !screens.prompt.hidden) showLapsed();
}

/** @param {Prompt} prompt */
function showPrompt(prompt) {
  const question = `Pay ${money(prompt)} to Demo Shop?`;
  find("from").textContent = prompt.title;
  find("ask").textContent = question;
  setPin("");
  showScreen("prompt");
  find("announcement").textContent = `${prompt.title}: ${question}`;
  // Only with the focus, so that a person in the demo shop's page keeps their place.
  if (document.hasFocus()) pin.focus();
}

/** The prompt ended without an answer from this page. */
function showLapsed() {
  find("idle-text").textContent = "The request has ended: it was answered elsewhere, or it expired.";
  showScreen("idle");
}

/** @param {string} digits */
function setPin(digits) {
  pin.value = digits.replace(/\D/g, "").slice(0, pin.maxLength);
  pay.disabled = pin.value.length < pinLengthMin;
}

/** @param {Answer} answer */
async function send(answer) {
  if (!shown) return;
  const { id } = shown;
  const { tone, sign, title, text } = outcomes[answer];
  const response = await fetch(new URL(`prompts/${id}`, root), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answer }),
  }).catch(() => undefined);
  if (!response) {
    find("link").textContent = "No network";
    return;
  }
  // The prompt was answered or lapsed before. The stream sends the new state.
  if (!response.ok) return showLapsed();
  if (shown && shown.id !== id) return;
  find("done-title").textContent = title;
  find("done-text").textContent = text;
  find("done-sign").setAttribute("d", sign);
  screens.done.dataset.tone = tone;
  find("announcement").textContent = title;
  showScreen("done");
}

/** Subscribes to the entered number while the page is visible. */
function subscribe() {
  stream?.close();
  stream = undefined;
  const digits = number.value.replace(/[^\d+]/g, "");
  if (document.hidden || digits.replace("+", "").length < 9) return;
  const source = new EventSource(new URL(`${encodeURIComponent(digits)}/events`, root));
  stream = source;
  source.addEventListener("prompts", ({ data }) => show(JSON.parse(data)));
  source.addEventListener("error", () => {
    find("link").textContent = "Reconnecting…";
  });
}

/** @param {string} text */
function setNumber(text) {
  if (text === number.value) return;
  number.value = text;
  changeNumber();
}

function changeNumber() {
  shown = undefined;
  find("idle-text").textContent = "Requests to pay from this number appear here.";
  showScreen("idle");
  const address = new URL(location.href);
  address.searchParams.set("number", number.value);
  history.replaceState(null, "", address);
  subscribe();
}

number.addEventListener("change", changeNumber);
find("numbers").addEventListener("submit", (event) => {
  event.preventDefault();
  number.blur();
});
pin.addEventListener("input", () => setPin(pin.value));
screens.prompt.addEventListener("click", ({ target }) => {
  if (!(target instanceof HTMLButtonElement)) return;
  if (target.value === "back") setPin(pin.value.slice(0, -1));
  else if (/^\d$/.test(target.value)) setPin(pin.value + target.value);
});
screens.prompt.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!pay.disabled) send(pin.value === wrongPin ? "wrong_pin" : "approve");
});
// Digits are accepted wherever the focus is, like the keys of a phone.
document.addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
  if (screens.prompt.hidden || target instanceof HTMLInputElement || ctrlKey || metaKey || altKey) return;
  if (/^\d$/.test(key)) setPin(pin.value + key);
  else if (key === "Backspace") setPin(pin.value.slice(0, -1));
});
find("cancel").addEventListener("click", () => send("cancel"));
find("low-balance").addEventListener("click", () => send("insufficient_funds"));
document.addEventListener("visibilitychange", subscribe);
window.addEventListener("message", ({ origin, data }) => {
  if (origin === location.origin && typeof data?.number === "string") setNumber(data.number);
});

number.value = new URL(location.href).searchParams.get("number") ?? "";
subscribe();
