/** The watchers' end, as thin as can be: the bench measures servers, and shares two cores with them. */
import { get } from "node:http";
import { WebSocket } from "ws";
import type { Job, WatchVia } from "./plan.ts";

export interface WatcherOptions {
  job: Job;
  /** The watcher's own address, on the loopback network. */
  localAddress: string;
  /** Hears of every message's text. */
  onText: (text: string) => void;
  /** Hears of every request. */
  onAsk: () => void;
}

/** Resolves when the watcher watches, with the way to stop. */
type Watch = (options: WatcherOptions) => Promise<() => void>;

const socketOf = (url: string, localAddress: string): WebSocket =>
  new WebSocket(url, { localAddress, perMessageDeflate: false, skipUTF8Validation: true });

const overWebSocket: Watch = ({ job, localAddress, onText }) =>
  new Promise((done, fail) => {
    const socket = socketOf(job.watchUrl, localAddress);
    socket.on("message", (data: Buffer) => onText(data.toString("latin1")));
    socket.once("error", fail);
    socket.once("open", () => {
      socket.on("error", () => undefined);
      done(() => socket.terminate());
    });
  });

/** Engine.IO 4 and Socket.IO 5, spoken by hand: open, connect, events, pings. */
const overSocketIo: Watch = ({ job, localAddress, onText }) =>
  new Promise((done, fail) => {
    const socket = socketOf(`${job.watchUrl}/socket.io/?EIO=4&transport=websocket`, localAddress);
    socket.once("error", fail);
    socket.on("message", (data: Buffer) => {
      const text = data.toString("latin1");
      if (text === "2") socket.send("3");
      else if (text.startsWith("0")) socket.send(`40${JSON.stringify({ token: job.token, id: job.id })}`);
      else if (text.startsWith("42")) onText(text);
      else if (text.startsWith("40")) {
        socket.on("error", () => undefined);
        done(() => socket.terminate());
      } else if (text.startsWith("44")) fail(new Error(text));
    });
  });

const overEventSource: Watch = ({ job, localAddress, onText }) =>
  new Promise((done, fail) => {
    const request = get(job.watchUrl, { localAddress, agent: false, headers: { accept: "text/event-stream" } });
    request.once("error", fail);
    request.once("response", (response) => {
      request.on("error", () => undefined);
      if (response.statusCode !== 200) return fail(new Error(`HTTP ${response.statusCode}`));
      response.on("error", () => undefined);
      response.on("data", (data: Buffer) => onText(data.toString("latin1")));
      done(() => request.destroy());
    });
  });

/** About how long a server takes to read a request that it will not answer for a while. */
const askedMs = 5;

/** One request after another, the next one `pauseMs` after an answer; until one says that it is paid. */
const overRequests =
  (pauseMs: number): Watch =>
  async ({ job, localAddress, onText, onAsk }) => {
    let isOver = false;
    let stop = (): void => undefined;
    /** So that not all come at the same moment, as they would not in life. */
    const asked = Promise.withResolvers<void>();
    const ask = (): void => {
      onAsk();
      const request = get(job.watchUrl, { localAddress, agent: false }, (response) => {
        let text = "";
        response.on("error", () => undefined);
        response.on("data", (data: Buffer) => {
          text += data.toString("latin1");
        });
        response.once("end", () => {
          if (isOver) return;
          onText(text);
          if (text.includes('"succeeded"')) return;
          const timer = setTimeout(ask, pauseMs);
          stop = () => clearTimeout(timer);
        });
      });
      request.on("error", () => undefined);
      request.once("finish", () => setTimeout(asked.resolve, askedMs));
      stop = () => request.destroy();
    };
    // Pollers ask at times of their own.
    const timer = setTimeout(ask, Math.random() * pauseMs);
    stop = () => clearTimeout(timer);
    if (pauseMs === 0) await asked.promise;
    return () => {
      isOver = true;
      stop();
    };
  };

export const watch: Record<WatchVia, Watch> = {
  websocket: overWebSocket,
  socketio: overSocketIo,
  eventsource: overEventSource,
  longpoll: overRequests(0),
  poll: overRequests(5_000),
};
