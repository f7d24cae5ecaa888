/** What a node tells of its providers and of itself, and the sandbox's phone. */
import { answerBody } from "../sandbox/phone.ts";
import { prompt } from "./example.ts";
import { anybody, described, merchant, type Operation } from "./operation.ts";
import { alive, answered, integrity, prompts, providerList, providerToken, readiness } from "./shape.ts";

const providers: readonly Operation[] = [
  {
    method: "GET",
    url: "/v1/providers",
    id: "listProviders",
    tag: "Providers",
    summary: "List the providers offered here",
    openedBy: merchant,
    answers: { 200: { description: "Each with its numbers.", shapes: [providerList] } },
    problems: ["key_invalid", "origin_refused", "rate_limited", "internal", "store_unavailable"],
  },
  {
    method: "POST",
    url: "/v1/providers/:provider/token",
    id: "fetchProviderToken",
    tag: "Providers",
    summary: "Fetch the provider's access token ahead of need",
    description: "Only when less than 5 min are left. Has no body, and never answers the token.",
    openedBy: merchant,
    answers: { 200: { description: "Until when the token lives.", shapes: [providerToken] } },
    problems: [
      "body_invalid",
      "key_invalid",
      "origin_refused",
      "provider_unknown",
      "body_too_large",
      "rate_limited",
      "internal",
      "provider_unavailable",
      "store_unavailable",
    ],
  },
];

const ready = (status: "ok" | "unavailable", postgres: "up" | "down") => ({
  shapes: [readiness],
  example: { status, postgres, bus: "up", spool: "up", draining: false },
});

const health: readonly Operation[] = [
  {
    method: "GET",
    url: "/livez",
    id: "live",
    tag: "Operating",
    summary: "The process lives",
    openedBy: anybody,
    answers: { 200: { description: "It does.", shapes: [alive], example: { status: "ok" } } },
    problems: [],
  },
  {
    method: "GET",
    url: "/readyz",
    id: "ready",
    tag: "Operating",
    summary: "This node can take a webhook",
    openedBy: anybody,
    answers: {
      200: { description: "It can.", ...ready("ok", "up") },
      503: {
        description: "It cannot, is stopping, or needs a newer schema than the database has (`detail`).",
        ...ready("unavailable", "down"),
      },
    },
    problems: [],
  },
  {
    method: "GET",
    url: "/metrics",
    id: "readMetrics",
    tag: "Operating",
    summary: "Numbers for Prometheus",
    description: "For the API key, or from a loopback address.",
    openedBy: merchant,
    answers: { 200: { description: "In Prometheus' text form.", type: "text/plain" } },
    problems: ["key_invalid"],
  },
];

const documents: readonly Operation[] = [
  ["/docs", "openDocs", "This API as a page", "text/html"] as const,
  ["/openapi.json", "readOpenApi", "This API as OpenAPI 3.1", "application/json"] as const,
  ["/asyncapi.json", "readAsyncApi", "The sockets and streams as AsyncAPI 3", "application/json"] as const,
].map(([url, id, summary, type]) => ({
  method: "GET",
  url,
  id,
  tag: "Operating",
  summary,
  openedBy: anybody,
  answers: { 200: { description: "The document.", type } },
  problems: [],
}));

const sdk: readonly Operation[] = [
  {
    method: "GET",
    url: "/sdk/:file",
    id: "readSdkFile",
    tag: "Watching",
    summary: "The client SDK for browsers",
    description:
      "`tukio.js` is a module that registers `<order-status>` and exports `watchOrder`; it fetches the other files when it needs them. For every origin.",
    openedBy: anybody,
    answers: { 200: { description: "The file.", type: "text/javascript" } },
    problems: ["route_unknown"],
  },
  {
    method: "GET",
    url: "/sdk/integrity.json",
    id: "readSdkIntegrity",
    tag: "Watching",
    summary: "What to pin the SDK's scripts by",
    openedBy: anybody,
    answers: {
      200: {
        description: "For `integrity=`, by file.",
        shapes: [integrity],
        example: { "tukio.js": "sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC" },
      },
    },
    problems: ["route_unknown"],
  },
];

const pages: readonly Operation[] = [
  ["/", "openShop", "A demo shop, to pay and watch"] as const,
  ["/sandbox/phone", "openPhone", "The payer's phone, to answer by hand"] as const,
].map(([url, id, summary]) => ({
  method: "GET",
  url,
  id,
  tag: "Sandbox",
  summary,
  openedBy: anybody,
  answers: { 200: { description: "The page.", type: "text/html" } },
  problems: ["rate_limited"],
}));

const phone: readonly Operation[] = [
  {
    method: "GET",
    url: "/sandbox/phone/:msisdn/prompts",
    id: "listPrompts",
    tag: "Sandbox",
    summary: "What a phone shows",
    openedBy: anybody,
    answers: { 200: { description: "Its open prompts.", shapes: [prompts], example: { prompts: [prompt] } } },
    problems: ["rate_limited"],
  },
  {
    method: "GET",
    url: "/sandbox/phone/:msisdn/events",
    id: "followPrompts",
    tag: "Sandbox",
    summary: "Follow what a phone shows",
    description: "Everything it shows now, and again whenever that changes. A comment every 15 s.",
    openedBy: anybody,
    answers: {
      200: {
        description: "`data` has the open `prompts`, and whether the number answers them by itself.",
        type: "text/event-stream",
        example: `event: prompts\ndata: ${JSON.stringify({ prompts: [{ ...prompt, title: "M-Pesa" }], answersItself: false })}\n\n`,
      },
    },
    problems: ["rate_limited"],
  },
  {
    method: "POST",
    url: "/sandbox/phone/prompts/:id",
    id: "answerPrompt",
    tag: "Sandbox",
    summary: "Answer a prompt",
    description: "The first answer counts. `ignore` lets it lapse: the provider says that nobody answered.",
    openedBy: anybody,
    body: {
      id: "PromptAnswer",
      ...described(answerBody, { answer: { description: "What the payer does." } }),
      examples: { approve: { summary: "The payer types the right PIN", value: { answer: "approve" } } },
    },
    answers: {
      200: { description: "So it is.", shapes: [answered], example: { id: prompt.id, answer: "approve" } },
    },
    problems: ["body_invalid", "route_unknown", "body_too_large", "rate_limited"],
  },
];

export const nodeOperations: readonly Operation[] = [...providers, ...health, ...documents, ...sdk, ...pages, ...phone];
