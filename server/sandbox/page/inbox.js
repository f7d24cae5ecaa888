/**
 * The sandbox's inbox: lists the mails, and shows one in a frame that runs no scripts and has no origin. While the page is visible, it
 * reads the list every two seconds.
 */

/** @typedef {{ id: string, to: string, subject: string, at: string }} Mail */

/** @type {<E extends HTMLElement = HTMLElement>(id: string) => E} */
const find = (id) => {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no #${id}`);
  return /** @type {any} */ (element);
};

const root = new URL("../mails", import.meta.url);
const recipient = /** @type {HTMLInputElement} */ (find("to"));
const list = find("mails");

const readMs = 2000;

/** 8 s, after which a request is abandoned, because a lost connection may never report an error. */
const requestMs = 8000;

/** Newest first. @type {Mail[]} */
let mails = [];
/** @type {string | undefined} */
let openId;
let isText = false;

const time = new Intl.DateTimeFormat("en", {
  month: "short",
  day: "numeric",
  hour: "numeric",
  minute: "2-digit",
  second: "2-digit",
});

/** @param {string} className @param {string} text */
function span(className, text) {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = text;
  return element;
}

/** @param {Mail} mail */
function item({ id, to, subject, at }) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.id = id;
  button.append(span("subject", subject), span("to", to), span("at", time.format(new Date(at))));
  const entry = document.createElement("li");
  entry.append(button);
  return entry;
}

/** @param {Mail[]} current */
function show(current) {
  const isSame = current.length === mails.length && current.every(({ id }, index) => id === mails[index]?.id);
  mails = current;
  if (!isSame || list.children.length === 0) showList();
  const isOpen = mails.some(({ id }) => id === openId);
  // On a wide screen the newest mail opens by itself.
  const first = shownMails()[0];
  if (!isOpen && first && matchMedia("(min-width: 50rem)").matches) openMail(first.id);
}

const shownMails = () => {
  const text = recipient.value.trim().toLowerCase();
  return mails.filter(({ to }) => to.toLowerCase().includes(text));
};

function showList() {
  const shown = shownMails();
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.id : undefined;
  list.replaceChildren(...shown.map(item));
  find("empty").hidden = shown.length > 0;
  markOpen();
  for (const button of list.querySelectorAll("button")) if (button.dataset.id === focused) button.focus();
}

function markOpen() {
  for (const button of list.querySelectorAll("button")) {
    if (button.dataset.id === openId) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

/** @param {string} id */
function openMail(id) {
  const mail = mails.find((one) => one.id === id);
  if (!mail) return;
  openId = id;
  find("subject").textContent = mail.subject;
  find("recipient").textContent = `To ${mail.to}`;
  find("at").textContent = time.format(new Date(mail.at));
  find("at").setAttribute("datetime", mail.at);
  find("mail").hidden = false;
  markOpen();
  showContent();
}

function showContent() {
  if (openId === undefined) return;
  find("as-html").setAttribute("aria-pressed", String(!isText));
  find("as-text").setAttribute("aria-pressed", String(isText));
  if (isText) showText(openId);
  else find("content").replaceChildren(frameOf(openId));
}

/** @param {string} id */
function frameOf(id) {
  const frame = document.createElement("iframe");
  // What the frame shows cannot read this page, and runs no scripts. A link opens in another tab.
  frame.setAttribute("sandbox", "allow-popups allow-popups-to-escape-sandbox");
  frame.title = "The mail";
  frame.src = `${root}/${id}`;
  return frame;
}

/** @param {string} id */
async function showText(id) {
  const response = await request(`${root}/${id}/text`);
  const text = await response?.text();
  if (id !== openId || !isText) return;
  const element = document.createElement("pre");
  element.tabIndex = 0;
  element.textContent = text ?? "The mail cannot be read now.";
  find("content").replaceChildren(element);
}

/** Undefined without an answer in time. @param {string | URL} address */
async function request(address) {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), requestMs);
  try {
    const response = await fetch(address, { signal: controller.signal });
    return response.ok ? response : undefined;
  } catch {
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

async function read() {
  const response = await request(root);
  find("link").textContent = response ? "" : "Reconnecting…";
  if (response) show((await response.json()).mails);
}

let isReading = false;

async function readWhileVisible() {
  if (isReading) return;
  isReading = true;
  while (!document.hidden) {
    await read();
    await new Promise((resolve) => setTimeout(resolve, readMs));
  }
  isReading = false;
}

list.addEventListener("click", ({ target }) => {
  const button = target instanceof Element && target.closest("button");
  if (!button) return;
  openMail(button.dataset.id || "");
  // On a narrow screen the mail is below the list.
  if (!matchMedia("(min-width: 50rem)").matches) find("mail").scrollIntoView();
});
recipient.addEventListener("input", showList);
find("as-html").addEventListener("click", () => {
  isText = false;
  showContent();
});
find("as-text").addEventListener("click", () => {
  isText = true;
  showContent();
});
document.addEventListener("visibilitychange", readWhileVisible);

recipient.value = new URL(location.href).searchParams.get("to") ?? "";
readWhileVisible();
