/** What the page hears, as it hears it: the link, the events, and the switches that disturb them. */
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
const timeOf = (iso) => clockFormat.format(new Date(iso));

/** @param {{ network: Network }} options */
export function createPanel({ network }) {
  const rows = find("events");
  const link = find("link");
  const cut = /** @type {HTMLButtonElement} */ (find("cut"));
  let lastVersion = 0;
  let lastId = "";

  /** @param {string} text */
  const say = (text) => {
    if (find("switch-hint").textContent !== text) find("switch-hint").textContent = text;
  };

  cut.addEventListener("click", () => {
    network.cut();
    say("Cut. The SDK comes back within half a second, from the last version it has seen.");
  });
  toggle("block", (isOn) => {
    network.setBlocked(isOn);
    say(
      isOn
        ? "Sockets do not pass, as behind some proxies: the long poll takes over."
        : "Sockets pass again. The SDK tries them after a minute, when the long poll has something to say.",
    );
  });
  toggle("offline", (isOn) => {
    network.setOffline(isOn);
    say(
      isOn
        ? "Offline. The payer’s phone is not: answer there, then come back."
        : "Back online: the newest state, at once.",
    );
  });

  return {
    /** @param {Snapshot | undefined} snapshot */
    showLink(snapshot) {
      const { connection = "closed", transport = "" } = snapshot ?? {};
      const [state, text] =
        connection === "open"
          ? ["open", `Live over ${transportNames[transport] ?? transport}`]
          : connection === "closed"
            ? ["closed", "No longer watching"]
            : ["waiting", network.isOffline ? "Offline" : "Reconnecting…"];
      link.dataset.link = state;
      if (find("link-text").textContent !== text) find("link-text").textContent = text;
      cut.disabled = connection !== "open";
    },

    /** @param {string} orderId */
    watch(orderId) {
      const second = /** @type {HTMLAnchorElement} */ (find("second"));
      second.href = `./?orderId=${encodeURIComponent(orderId)}`;
      say("Now disturb the connection: no state is missed.");
    },

    /**
     * One more event, newest first, unless it was here before. `delay` in milliseconds; undefined where it cannot be
     * known.
     * @param {StatusEvent} event
     * @param {number | undefined} delay
     */
    add({ id, version, status, reason, settled, occurredAt }, delay) {
      // Another id is another order, whose versions start again.
      if (id !== lastId) {
        rows.replaceChildren();
        lastVersion = 0;
        lastId = id;
      }
      if (version <= lastVersion) return;
      find("no-events").hidden = true;
      const skipped = version - lastVersion - 1;
      if (skipped > 0) rows.prepend(gap(lastVersion + 1, version - 1));
      lastVersion = version;
      const row = document.createElement("tr");
      row.dataset.status = status;
      row.dataset.settled = String(settled);
      const state = cell("state", status);
      if (reason) state.append(" ", reasonOf(reason));
      row.append(
        cell("version", String(version)),
        state,
        cell("time", timeOf(occurredAt)),
        cell("delay", delay === undefined ? "–" : `${delay} ms`),
      );
      rows.prepend(row);
    },
  };
}

/** @param {string} id @param {(isOn: boolean) => void} onToggle */
function toggle(id, onToggle) {
  const button = find(id);
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    onToggle(isOn);
  });
}

/** Versions that this page did not need to see. @param {number} first @param {number} last */
function gap(first, last) {
  const row = document.createElement("tr");
  row.className = "gap";
  const which = first === last ? `v${first}` : `v${first}–${last}`;
  const only = cell("gap", `${which} happened before or meanwhile; the next is whole`);
  only.colSpan = 4;
  row.append(only);
  return row;
}

/** @param {string} name @param {string} className @param {string} text */
function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** May be broken after each word, where there is little room. @param {string} reason */
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
