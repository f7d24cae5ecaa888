/**
 * The gateway in front of bKash's sandbox: access tokens and their call limit, the error formats, and the parsing of bodies.
 * The texts are from developer.bka.sh, "Error Codes"; the gateway's texts are Amazon API Gateway's, as integrators log them.
 *
 * A token contains its expiry and a signature, so it stays valid across restarts and nodes. Otherwise a restarted node would
 * soon reach the limit of token calls.
 */
import { createHmac, randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson, readJsonText } from "../../sandbox/fault.ts";
import type { IsMerchant } from "../../sandbox/server.ts";

/** bKash's own errors have HTTP 200. */
const texts = {
  "2001": "Invalid App Key",
  "2002": "Invalid Payment ID",
  "2006": "Invalid amount",
  "2007": "Invalid currency",
  "2008": "Invalid intent",
  "2014": "Wrong PIN",
  "2019": "PIN verification time expired",
  "2023": "Insufficient Balance",
  "2025": "Invalid request body",
  "2029": "Duplicate for all transactions",
  "2031": "Invalid merchant invoice number",
  "2037": "The account of the debit party is in a state which prohibits execution of this transaction",
  "2048": "Invalid Payer Reference",
  "2049": "Invalid Merchant Callback URL",
  "2056": "Invalid Payment State",
  "2060": "Payment execution pre-requisite hasn't been met",
  "2062": "The payment has already been completed",
  "2063": "Mode is not valid as per request data",
  "2065": "Mandatory field missing",
  "2117": "Payment execution already been called before",
} as const;

export type FaultCode = keyof typeof texts;

/** An error of bKash. */
export const fault = (code: FaultCode): Fault => new Fault(200, { statusCode: code, statusMessage: texts[code] });

/** The same in the format of older parts of bKash. It is not documented which parts use it. */
export const oldFault = (code: FaultCode): Fault => new Fault(200, { errorCode: code, errorMessage: texts[code] });

/** An error of the gateway: the request did not reach bKash, or was not answered in time. */
export const gatewayFault = (status: number, message: string): Fault => new Fault(status, { message });

/** Sets up errors and bodies as at bKash. A body that is not JSON counts as one without fields. */
export function configureBkashHttp(app: FastifyInstance): void {
  handleFaults(app, {
    notFound: () => gatewayFault(403, "Missing Authentication Token"),
    internal: () => gatewayFault(500, "Internal server error"),
  });
  parseEveryBodyAsJson(app);
}

/** The credentials of the only merchant. */
export interface Account {
  USERNAME: string;
  PASSWORD: string;
  APP_KEY: string;
  APP_SECRET: string;
}

const tokenLifetimeS = 3_600;

/** 28 days, as commonly stated (unverified). */
const refreshLifetimeS = 28 * 86_400;

const callsPerHourMax = 2;
const hourMs = 3_600_000;

const tokenBody = z.object({ app_key: z.string(), app_secret: z.string() });
const refreshBody = tokenBody.extend({ refresh_token: z.string() });

interface Tokens {
  /** Throws bKash's error unless the request has a valid token and the app key. */
  requireToken(request: FastifyRequest): void;
  isMerchant: IsMerchant;
}

/** Serves the token calls. */
export function issueTokens(app: FastifyInstance, { account, now }: { account: Account; now: () => Date }): Tokens {
  const mint = (use: TokenUse, lifetimeS: number): string =>
    sign(account.APP_SECRET, { jti: randomUUID(), use, exp: now().getTime() / 1_000 + lifetimeS });
  const isGood = (token: string, use: TokenUse): boolean => {
    const claims = open(account.APP_SECRET, token);
    return claims?.use === use && claims.exp > now().getTime() / 1_000;
  };
  const countCall = createCallLimit(now);

  const isKnown: IsMerchant = ({ headers: { username, password } }) =>
    isSame(String(username ?? ""), account.USERNAME) && isSame(String(password ?? ""), account.PASSWORD);

  const checkAccount = (request: FastifyRequest): void => {
    const { body } = request;
    if (!isKnown(request)) throw gatewayFault(401, "Unauthorized");
    // After the check, so that only the merchant's calls count.
    countCall();
    const { success, data } = tokenBody.safeParse(body);
    if (!success) throw oldFault("2065");
    if (data.app_key !== account.APP_KEY || data.app_secret !== account.APP_SECRET) throw fault("2001");
  };
  const tokens = () => ({
    statusCode: "0000",
    statusMessage: "Successful",
    id_token: mint("id", tokenLifetimeS),
    token_type: "Bearer",
    expires_in: tokenLifetimeS,
    refresh_token: mint("refresh", refreshLifetimeS),
  });

  app.post("/tokenized/checkout/token/grant", async (request) => {
    checkAccount(request);
    return tokens();
  });

  app.post("/tokenized/checkout/token/refresh", async (request) => {
    checkAccount(request);
    const { success, data } = refreshBody.safeParse(request.body);
    if (!success) throw oldFault("2065");
    if (!isGood(data.refresh_token, "refresh")) throw gatewayFault(401, "Unauthorized");
    return tokens();
  });

  return {
    requireToken({ headers }) {
      // Without "Bearer": whether bKash accepts that too is unverified.
      if (!isGood(headers.authorization ?? "", "id")) throw gatewayFault(401, "Unauthorized");
      if (headers["x-app-key"] !== account.APP_KEY) throw fault("2001");
    },
    isMerchant: (request) =>
      isKnown(request) || open(account.APP_SECRET, request.headers.authorization ?? "") !== undefined,
  };
}

/**
 * A third token call within an hour blocks token calls for an hour (developer.bka.sh, "Token Management"). bKash's answer is
 * not documented; this is the gateway's answer to too many requests.
 */
function createCallLimit(now: () => Date): () => void {
  let calledAtMs: number[] = [];
  let blockedUntilMs = 0;
  return () => {
    const nowMs = now().getTime();
    // Keeps one call more than the limit, which is enough to detect it.
    calledAtMs = [...calledAtMs.filter((atMs) => atMs > nowMs - hourMs), nowMs].slice(-callsPerHourMax - 1);
    if (nowMs >= blockedUntilMs && calledAtMs.length > callsPerHourMax) blockedUntilMs = nowMs + hourMs;
    if (nowMs < blockedUntilMs) throw gatewayFault(429, "Too Many Requests");
  };
}

type TokenUse = "id" | "refresh";

const claimsShape = z.object({ jti: z.string(), use: z.enum(["id", "refresh"]), exp: z.number() });
type Claims = z.infer<typeof claimsShape>;

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

const tokenHeader = encode({ alg: "HS256", typ: "JWT" });

const macOf = (key: string, text: string): string => createHmac("sha256", key).update(text).digest("base64url");

function sign(key: string, claims: Claims): string {
  const text = `${tokenHeader}.${encode(claims)}`;
  return `${text}.${macOf(key, text)}`;
}

function open(key: string, token: string): Claims | undefined {
  const [header = "", payload = "", mac = ""] = token.split(".");
  if (!isSame(mac, macOf(key, `${header}.${payload}`))) return undefined;
  return claimsShape.safeParse(readJsonText(Buffer.from(payload, "base64url").toString())).data;
}
