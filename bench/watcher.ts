/** Minimal watchers, because they share the machine's two cores with the measured servers. */
import { get } from "node:http";
import { WebSocket } from "ws";
import type { Job, WatchVia } from "./message.ts";

export interface WatcherOptions {
  job: Job;
  /** The loopback address that the watcher connects from. */
  localAddress: string;
  /** Called with the text of every message. */
  onText: (text: string) => void;
  /** Called at every request. */
  onRequest: () => void;
}

/** Opens a watcher. Resolves with a function that stops it. */
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

/** A minimal client of Engine.IO 4 and Socket.IO 5: open, connect, events, pings. */
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

/** 5 ms, because a server needs about that long to read a request that it answers later. */
const readMs = 5;

/** Repeats a request `pauseMs` after each answer, until an answer has the status `succeeded`. */
const overRequests =
  (pauseMs: number): Watch =>
  async ({ job, localAddress, onText, onRequest }) => {
    let isOver = false;
    let stop = (): void => undefined;
    /** Resolves when the first request was sent. */
    const sent = Promise.withResolvers<void>();
    const ask = (): void => {
      onRequest();
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
      request.once("finish", () => setTimeout(sent.resolve, readMs));
      stop = () => request.destroy();
    };
    // A random start, because real pollers are not synchronous.
    const timer = setTimeout(ask, Math.random() * pauseMs);
    stop = () => clearTimeout(timer);
    if (pauseMs === 0) await sent.promise;
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
