/**
 * The payer's phone: shows the prompts and the SMS of one number, and sends the answers. While the page is visible, it reads the phone's whole state
 * every second. It holds no connection, because all tabs of a browser share six. In the demo shop's frame, the shop sends the number,
 * and a message when the order has changed.
 */
import { dialogOf } from "./dialog.js";
import { digitsOf } from "./digits.js";

/** @import { Request } from "./dialog.js" */

/** @typedef {Request & { id: string }} Prompt */
/** @typedef {{ id: string, from: string, text: string, at: string }} Sms */
/** @typedef {{ prompts: Prompt[], answersItself: boolean, sms: Sms[] }} View */
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
const sendButton = /** @type {HTMLButtonElement} */ (find("send"));
const screens = { idle: find("idle"), inbox: find("inbox"), prompt: find("prompt"), done: find("done") };

/** 1 s, because a prompt must seem to come at once. A page needs a hundredth of its address's budget of cheap requests. */
const readMs = 1000;

/** The time until another read after a failed one. */
const retryMs = 3000;

/** 8 s, after which a request is abandoned, because a lost connection may never report an error. */
const requestMs = 8000;

/** 8, because a number of Eswatini has eight digits without its country code. */
const numberLengthMin = 8;

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
/** The id of the latest SMS, "" without one; undefined before the first read of a number. @type {string | undefined} */
let latestSms;
/** The reads of the current number; a change of the number aborts them. @type {AbortController | undefined} */
let reading;
/** Whether to read again without a wait. */
let isDue = false;
/** Ends the wait for the next read. */
let endWait = () => {};

/** @param {keyof typeof screens} name */
function showScreen(name) {
  for (const [other, element] of Object.entries(screens)) element.hidden = other !== name;
}

/** @param {View} view */
function show({ prompts, answersItself, sms }) {
  const [first] = prompts;
  showSms(sms);
  find("link").textContent = "";
  find("count").textContent = prompts.length > 1 ? `1 of ${prompts.length}` : "";
  find("automatic").hidden = !answersItself;
  if (first?.id === shown?.id) return;
  const wasShown = shown;
  shown = first;
  if (first) showPrompt(first);
  else if (wasShown && !screens.prompt.hidden) showLapsed();
}

/**
 * Lists the SMS. They replace an idle screen, and a new one also the screen after an answer; a prompt stays in front.
 * @param {Sms[]} sms
 */
function showSms(sms) {
  const last = sms[sms.length - 1];
  const id = last?.id ?? "";
  if (id === latestSms) return;
  const isNew = latestSms !== undefined;
  latestSms = id;
  find("messages").replaceChildren(...sms.map(messageOf));
  if (!last) return;
  if (!screens.idle.hidden || (isNew && !screens.done.hidden)) showScreen("inbox");
  find("messages").lastElementChild?.scrollIntoView({ block: "nearest" });
  if (isNew) find("announcement").textContent = `Message from ${last.from}: ${last.text}`;
}

/** @param {Sms} sms */
function messageOf({ from, text, at }) {
  const item = document.createElement("li");
  const sender = document.createElement("span");
  sender.className = "sender";
  const time = document.createElement("time");
  time.dateTime = at;
  time.textContent = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" }).format(new Date(at));
  sender.append(from, time);
  item.append(sender, text);
  return item;
}

/** @param {Prompt} prompt */
function showPrompt(prompt) {
  const { name, question, pinLabel } = dialogOf(prompt);
  screens.prompt.dataset.provider = prompt.provider;
  find("from").textContent = name;
  find("ask").textContent = question;
  find("about").textContent = prompt.description || "";
  find("about").hidden = !prompt.description;
  find("pin-label").textContent = pinLabel;
  setPin("");
  showScreen("prompt");
  find("announcement").textContent = `${name}: ${question}`;
  // Only with the focus, so that a person in the demo shop's page keeps their place.
  if (document.hasFocus()) pin.focus();
}

/** The prompt ended without an answer from this page. */
function showLapsed() {
  find("idle-text").textContent = "The request has ended: it was answered elsewhere, or it expired.";
  showScreen("idle");
}

/** @param {string} text */
function setPin(text) {
  pin.value = digitsOf(text).slice(0, pin.maxLength);
  sendButton.disabled = pin.value.length < pinLengthMin;
}

/** @param {Answer} answer */
async function sendAnswer(answer) {
  if (!shown) return;
  const { id } = shown;
  const { tone, sign, title, text } = outcomes[answer];
  const response = await request(new URL(`prompts/${id}`, root), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ answer }),
  });
  if (!response) {
    find("link").textContent = "No network";
    return;
  }
  readNow();
  // The prompt was answered or lapsed before.
  if (!response.ok) return showLapsed();
  if (shown && shown.id !== id) return;
  find("done-title").textContent = title;
  find("done-text").textContent = text;
  find("done-sign").setAttribute("d", sign);
  screens.done.dataset.tone = tone;
  find("announcement").textContent = title;
  showScreen("done");
}

/** Reads the prompts of the entered number while the page is visible. */
function startReading() {
  if (reading) reading.abort();
  reading = undefined;
  if (document.hidden || digitsOf(number.value).length < numberLengthMin) return;
  reading = new AbortController();
  // As it was typed, because the node reads numbers in every form.
  readUntil(reading.signal, new URL(`${encodeURIComponent(number.value.trim())}/prompts`, root));
}

/** @param {AbortSignal} signal @param {URL} address */
async function readUntil(signal, address) {
  while (!signal.aborted) {
    isDue = false;
    const view = await read(signal, address);
    if (signal.aborted) return;
    if (view) show(view);
    else find("link").textContent = "Reconnecting…";
    if (!isDue) await wait(view ? readMs : retryMs);
  }
}

/** @param {AbortSignal} signal @param {URL} address @returns {Promise<View | undefined>} */
async function read(signal, address) {
  const response = await request(address, { signal });
  return response?.ok ? response.body : undefined;
}

/**
 * Undefined without an answer in time.
 * @param {URL} address @param {RequestInit} options @returns {Promise<{ ok: boolean, body: any } | undefined>}
 */
async function request(address, { signal, ...options }) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, requestMs);
  signal?.addEventListener("abort", abort);
  try {
    const response = await fetch(address, { ...options, signal: controller.signal });
    return { ok: response.ok, body: await response.json() };
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** Resolves after this time, or when `readNow` is called. @param {number} ms @returns {Promise<void>} */
const wait = (ms) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    endWait = () => {
      clearTimeout(timer);
      resolve();
    };
  });

/** Reads again at once, also if a read is in flight, because it may have begun before the change. */
function readNow() {
  isDue = true;
  endWait();
}

/** @param {string} text */
function setNumber(text) {
  if (text === number.value) return;
  number.value = text;
  changeNumber();
}

function changeNumber() {
  shown = undefined;
  latestSms = undefined;
  find("messages").replaceChildren();
  find("idle-text").textContent = "Requests to pay from this number appear here.";
  showScreen("idle");
  const address = new URL(location.href);
  address.searchParams.set("number", number.value);
  history.replaceState(null, "", address);
  startReading();
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
  if (!sendButton.disabled) sendAnswer(pin.value === wrongPin ? "wrong_pin" : "approve");
});
// Digits are accepted wherever the focus is, like the keys of a phone.
document.addEventListener("keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
  if (screens.prompt.hidden || target instanceof HTMLInputElement || ctrlKey || metaKey || altKey) return;
  if (/^\p{Nd}$/u.test(key)) setPin(pin.value + key);
  else if (key === "Backspace") setPin(pin.value.slice(0, -1));
});
find("cancel").addEventListener("click", () => sendAnswer("cancel"));
find("low-balance").addEventListener("click", () => sendAnswer("insufficient_funds"));
document.addEventListener("visibilitychange", startReading);
window.addEventListener("message", ({ origin, data }) => {
  if (origin !== location.origin) return;
  if (typeof data?.number === "string") setNumber(data.number);
  if (data?.isChanged) readNow();
});

// The shop sets the number of a phone in its frame.
document.documentElement.classList.toggle("framed", window.parent !== window);
number.value = new URL(location.href).searchParams.get("number") ?? "";
startReading();
