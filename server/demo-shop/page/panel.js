/** The panel beside the shop: the state of the connection, the received events, and switches that disturb the connection. */
import { find } from "./form.js";

/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */
/** @import { Snapshot } from "../../../client-sdk/snapshot.ts" */
/** @import { Network } from "./network.js" */

/** @type {Record<string, string>} */
const transportNames = {
  socketio: "Socket.IO",
  websocket: "WebSocket",
  eventsource: "server-sent events",
  longpoll: "the long poll",
};

const clockFormat = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
});

/** @param {string} iso */
export const timeOf = (iso) => clockFormat.format(new Date(iso));

/** @param {{ network: Network }} options */
export function createPanel({ network }) {
  let lastVersion = 0;
  let lastEpoch = 0;
  let lastId = "";
  addSwitches(network);

  return {
    /** @param {Snapshot | undefined} snapshot */
    showLink: (snapshot) => showLink(snapshot, network),

    /** @param {string} orderId */
    watch(orderId) {
      const second = /** @type {HTMLAnchorElement} */ (find("second"));
      second.href = `./?orderId=${encodeURIComponent(orderId)}`;
      setText("switch-hint", "Now disturb the connection. The page still shows the newest state.");
    },

    /**
     * Adds an event above the others, unless the table has it already.
     * @param {StatusEvent} event
     * @param {string | undefined} delay Undefined if unknown.
     */
    add(event, delay) {
      const { id, epoch = 0, version } = event;
      if (id === lastId && epoch < lastEpoch) return;
      // Versions of another order, or of another epoch, start again.
      if (id !== lastId || epoch > lastEpoch) {
        find("events").replaceChildren();
        lastVersion = 0;
        lastId = id;
        lastEpoch = epoch;
      }
      if (version <= lastVersion) return;
      find("no-events").hidden = true;
      if (version > lastVersion + 1) find("events").prepend(skippedRow(lastVersion + 1, version - 1));
      lastVersion = version;
      find("events").prepend(eventRow(event, delay));
    },
  };
}

/** @param {Network} network */
function addSwitches(network) {
  find("cut").addEventListener("click", () => {
    network.cut();
    const text = "The connection was cut. The SDK reconnects within half a second and continues from the last version.";
    setText("switch-hint", text);
  });
  addToggle("block", (isOn) => {
    network.setBlocked(isOn);
    const text = isOn
      ? "WebSockets are blocked, as behind some proxies. The SDK switches to the long poll."
      : "WebSockets pass again. The SDK tries them after one minute, at the next answer to a poll.";
    setText("switch-hint", text);
  });
  addToggle("offline", (isOn) => {
    network.setOffline(isOn);
    const text = isOn
      ? "This page is offline, but the payer’s phone is not. Answer there, then turn this switch off."
      : "This page is online again and shows the newest state at once.";
    setText("switch-hint", text);
  });
}

/** @param {string} id @param {(isOn: boolean) => void} onToggle */
function addToggle(id, onToggle) {
  const button = find(id);
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    onToggle(isOn);
  });
}

/** @param {Snapshot | undefined} snapshot @param {Network} network */
function showLink(snapshot, network) {
  const { connection = "closed", transport = "" } = snapshot ?? {};
  const [state, text] =
    connection === "open"
      ? ["open", `Live over ${transportNames[transport] ?? transport}`]
      : connection === "closed"
        ? ["closed", "The watch has ended"]
        : ["waiting", network.isOffline ? "Offline" : "Reconnecting…"];
  find("link").dataset.link = state;
  setText("link-text", text);
  /** @type {HTMLButtonElement} */ (find("cut")).disabled = connection !== "open";
}

/** @param {StatusEvent} event @param {string | undefined} delay */
function eventRow({ version, status, reason, settled, occurredAt, results = [] }, delay) {
  const row = document.createElement("tr");
  row.dataset.status = status;
  row.dataset.settled = String(settled);
  const state = cell("state", status);
  if (reason) state.append(" ", reasonOf(reason));
  for (const { kind } of results) state.append(" ", element("span", "reason", `+ ${kind}`));
  row.append(cell("version", String(version)), state, cell("time", timeOf(occurredAt)), cell("delay", delay ?? "–"));
  return row;
}

/** Stands for versions that this page did not receive. @param {number} first @param {number} last */
function skippedRow(first, last) {
  const row = document.createElement("tr");
  row.className = "gap";
  const versions = first === last ? `v${first}` : `v${first}–${last}`;
  const only = cell("gap", `${versions} not received: each state is complete`);
  only.colSpan = 4;
  row.append(only);
  return row;
}

/** Writes only changes, because a screen reader announces a text again when it is written again. @param {string} id @param {string} text */
function setText(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

/** @param {string} name @param {string} className @param {string} text */
export function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Allows a line break after each word. @param {string} reason */
function reasonOf(reason) {
  const made = element("span", "reason", "");
  for (const [index, word] of reason.split("_").entries()) {
    if (index > 0) made.append("_", document.createElement("wbr"));
    made.append(word);
  }
  return made;
}

/** @param {string} className @param {string} text */
const cell = (className, text) => /** @type {HTMLTableCellElement} */ (element("td", className, text));
