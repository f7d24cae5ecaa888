/**
 * `/sandbox/inbox`: the page with the sandbox's mails, and the same for programs. A mail has texts of merchants and payers, so its
 * HTML is a document of its own that runs no scripts, has no origin, and is shown in a frame.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { bearerOf } from "../auth/access.ts";
import type { NodeProof } from "../auth/keys.ts";
import { HubError } from "../errors.ts";
import { assetRoute, iconFiles, keepAsset, keepAssets, sendBytes, sendPage } from "../http/static-files.ts";
import { inboxMails } from "../schema/answer.ts";
import { mail } from "../schema/example.ts";
import { described, describedFile, openedBy } from "../schema/route.ts";
import { parseInput } from "../validation.ts";
import type { Forwarding } from "./forward.ts";
import { createInbox, type Inbox, type ReceivedMail } from "./inbox.ts";
import { inboxPurpose } from "./inbox-client.ts";
import { type IsMerchant, limitUnauthenticated } from "./limit.ts";

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const page = keepAsset(own("inbox.html"));
const findFile = keepAssets({
  ...iconFiles,
  ...Object.fromEntries(["inbox.css", "inbox.js"].map((name) => [name, own(name)])),
});

/** 512 KiB, because a mail may list 100 items with long names, twice. */
const mailBytesMax = 524_288;

const text = (lengthMax: number) => z.string().max(lengthMax);

const mailBody = z.strictObject({
  messageId: text(1_000),
  to: text(1_000),
  subject: text(2_000),
  text: text(mailBytesMax),
  html: text(mailBytesMax),
});

const openInbox = describedFile("Sandbox", {
  operationId: "openInbox",
  summary: "The page with the mails about test payments",
  type: "text/html",
});

const listMails = described({
  operationId: "listMails",
  tag: "Sandbox",
  summary: "List the mails about test payments",
  description: "A node keeps the latest 100. No mail about a test payment leaves the node.",
  security: openedBy.everyone,
  answers: { 200: { description: "The mails, newest first.", schema: inboxMails, example: { mails: [mail] } } },
  problems: ["rate_limited"],
});

export interface InboxOptions {
  proof: NodeProof;
  /** Counts a request of an unauthenticated client. Throws `rate_limited`. */
  admit: (request: FastifyRequest) => Promise<void>;
  /** Whether another node has counted the request. */
  isForwarded: IsMerchant;
  forwarding: Forwarding | undefined;
}

/** Adds the routes to the scope of `/sandbox`. */
export function addInbox(app: FastifyInstance, { proof, admit, isForwarded, forwarding }: InboxOptions): void {
  const inbox = createInbox();
  app.register(async (scope) => {
    scope.addHook("onRoute", (route) => {
      route.config = { ...route.config, isCheap: true };
    });
    limitUnauthenticated(scope, { admit, isMerchant: isForwarded });
    forwarding?.addTo(scope);
    pageRoutes(scope, inbox);
  });
  // Not cheap, because an answer may have 2 MB.
  app.register(async (scope) => {
    limitUnauthenticated(scope, { admit, isMerchant: isForwarded });
    forwarding?.addTo(scope);
    listRoute(scope, inbox);
  });
  app.register(async (scope) => {
    const isNode: IsMerchant = (request) => proof.isOf(bearerOf(request), inboxPurpose);
    limitUnauthenticated(scope, { admit, isMerchant: isNode });
    // Before the body is read or forwarded.
    scope.addHook("onRequest", async (request) => {
      if (!isNode(request)) throw new HubError("key_invalid", "Only a node may put mails into the inbox");
    });
    forwarding?.addTo(scope, { bodyBytesMax: mailBytesMax });
    deliverRoute(scope, inbox);
  });
}

function pageRoutes(app: FastifyInstance, inbox: Inbox): void {
  app.get("/inbox", openInbox, async (request, reply) =>
    sendPage(request, reply, { page: await page(), framedBy: "none" }),
  );
  assetRoute(app, "/inbox/page", findFile);

  // The page reads this, without the contents, every two seconds.
  app.get("/inbox/mails", { config: { isPolled: true } }, async (_request, reply) => {
    const mails = inbox.list().map(({ id, to, subject, at }) => ({ id, to, subject, at }));
    return reply.header("cache-control", "no-store").send({ mails });
  });

  app.get<MailRequest>("/inbox/mails/:id", async ({ params }, reply) => {
    const { html } = findMail(inbox, params.id);
    // Not for a frame without an origin, for which Chromium would warn.
    reply.removeHeader("origin-agent-cluster");
    reply.headers({
      "content-security-policy": mailPolicy,
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
    });
    return sendBytes(reply.type("text/html; charset=utf-8"), Buffer.from(html));
  });

  app.get<MailRequest>("/inbox/mails/:id/text", async ({ params }, reply) => {
    reply.headers({ "cache-control": "no-store", "referrer-policy": "no-referrer" });
    return sendBytes(reply.type("text/plain; charset=utf-8"), Buffer.from(findMail(inbox, params.id).text));
  });
}

/** All mails with their contents. */
function listRoute(app: FastifyInstance, inbox: Inbox): void {
  app.get("/inbox.json", listMails, async (_request, reply) => {
    const mails = inbox.list().map(({ messageId: _, ...shown }) => shown);
    reply.header("cache-control", "no-store").type("application/json; charset=utf-8");
    return sendBytes(reply, Buffer.from(JSON.stringify({ mails })));
  });
}

/** The route by which the nodes' mailers put mails into the inbox. */
function deliverRoute(app: FastifyInstance, inbox: Inbox): void {
  app.post("/inbox", { bodyLimit: mailBytesMax }, async ({ body }, reply) => {
    inbox.add(parseInput(mailBody, body));
    return reply.code(201).send({});
  });
}

type MailRequest = { Params: { id: string } };

function findMail(inbox: Inbox, id: string): ReceivedMail {
  const found = inbox.find(id);
  if (!found) throw new HubError("route_unknown", "There is no such mail");
  return found;
}

/** Inline styles and the shop's logo. Links open in another tab, outside the sandbox. */
const mailPolicy = [
  "default-src 'none'",
  "style-src 'unsafe-inline'",
  "img-src https: http:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'self'",
  "sandbox allow-popups allow-popups-to-escape-sandbox",
].join("; ");
