/**
 * The messages that a merchant's backend receives about the order on this page. They are read when the order has changed, after
 * the version that the list has.
 */
import { find } from "./form.js";
import { element, timeOf } from "./panel.js";
import { Refused, readMessages } from "./payment.js";

/** @import { StatusEvent } from "../../../client-sdk/protocol.ts" */
/** @import { Message } from "./payment.js" */

/** When to read again after a read that failed, because the order may not change again: 2 s, unless the server says when. @param {unknown} error */
const retryAfterS = (error) => (error instanceof Refused && error.problem.retryAfterS) || 2;

/** The order and the epoch within which versions compare. @param {StatusEvent} event */
const seriesOf = ({ id, epoch = 0 }) => `${id}.${epoch}`;

export function createMessages() {
  /** @type {StatusEvent | undefined} */
  let newest;
  /** The series whose messages the list has, up to `lastVersion`. */
  let series = "";
  let lastVersion = 0;
  let isReading = false;
  /** @type {HTMLDetailsElement} */ (find("backend-panel")).open = window.matchMedia("(min-width: 1000px)").matches;

  const read = async () => {
    if (isReading || !newest) return;
    isReading = true;
    const wanted = newest;
    const waitS = await readNext(wanted).then(() => undefined, retryAfterS);
    isReading = false;
    find("backend-failure").hidden = waitS === undefined;
    if (newest !== wanted) read();
    else if (waitS !== undefined) setTimeout(read, 1000 * waitS);
  };

  /** Adds what the list does not have yet. @param {StatusEvent} event */
  const readNext = async (event) => {
    const { messages } = await readMessages(event.orderId, seriesOf(event) === series ? lastVersion : 0);
    // Unless the visitor has bought something else since.
    if (newest?.id === event.id) for (const message of messages) add(message);
  };

  /** Adds a message above the others, unless the list has it already. @param {Message} message */
  const add = (message) => {
    const [, itsSeries = "", version = ""] = /^(.*)\.(\d+)$/.exec(message.id) ?? [];
    if (itsSeries !== series) {
      find("messages").replaceChildren();
      series = itsSeries;
      lastVersion = 0;
    }
    if (Number(version) <= lastVersion) return;
    lastVersion = Number(version);
    find("no-messages").hidden = true;
    addFirst(find("messages"), messageItem(message));
  };

  return {
    /** Reads what is new. @param {StatusEvent} event The newest state that the page has received. */
    show(event) {
      newest = event;
      read();
    },
  };
}

/** Opens the newest message, unless the visitor has closed it or reads an older one. @param {HTMLElement} list @param {HTMLLIElement} item */
function addFirst(list, item) {
  const [last] = list.getElementsByTagName("details");
  const [details] = item.getElementsByTagName("details");
  if (details) details.open = last?.open ?? true;
  if (last) last.open = false;
  list.prepend(item);
}

/** @param {Message} message */
function messageItem({ id, body }) {
  const message = JSON.parse(body);
  const item = document.createElement("li");
  item.dataset.status = message.type.replace("order.", "");
  const summary = document.createElement("summary");
  summary.append(element("code", "state", message.type), " ", element("span", "time", timeOf(message.timestamp)));
  const header = element("p", "hint", "webhook-id: ");
  header.append(element("code", "", id));
  const text = element("pre", "", JSON.stringify(message, null, 2));
  // So that the keyboard can scroll it.
  text.tabIndex = 0;
  text.setAttribute("role", "region");
  text.setAttribute("aria-label", `Body of ${message.type}`);
  const details = document.createElement("details");
  details.append(summary, header, text);
  item.append(details);
  return item;
}
