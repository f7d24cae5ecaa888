/** The endpoint of `ENDPOINT_URL`, and the encryption of endpoints' secrets at the start of a node. */
import type pg from "pg";
import type { Sealer } from "../auth/keys.ts";
import { run } from "../order/statement.ts";
import { beforeAll } from "./resume.ts";
import { openSecret, sealSecret } from "./secret.ts";

export interface EnvironmentEndpoint {
  readonly url: string;
  readonly secret: string;
}

/** The id of the one endpoint that the environment defines. */
export const environmentId = "00000000-0000-4000-8000-000000000001";

/** Enables it if it has another URL, or returns after it was missing. */
const enableStatement = {
  name: "enable-environment-endpoint",
  text: `update endpoint set url = $2, enabled = true, disabled_because = null, failing_since = null, is_deleted = false,
      resumed_to = ${beforeAll},
      version = version + 1, changed_at = clock_timestamp()
    where id = $1 and (url <> $2 or disabled_because = 'environment' or is_deleted)`,
} as const;

/**
 * $4: the secret to replace, null for none. $5: it signs too for 24 hours, as after a rotation by the API. Changes nothing if another node
 * has replaced it.
 */
const storeStatement = {
  name: "store-environment-endpoint",
  text: `insert into endpoint (id, url, description, secret, created_epoch)
    select $1, $2, 'ENDPOINT_URL', $3, epoch from timeline
    on conflict (id) do update set secret = excluded.secret, old_secret = case when $5::boolean then endpoint.secret end,
      old_secret_until = case when $5 then clock_timestamp() + interval '24 hours' end,
      version = endpoint.version + 1, changed_at = clock_timestamp()
    where endpoint.secret = $4::bytea`,
} as const;

const environmentSecretStatement = {
  name: "read-environment-secret",
  text: "select secret from endpoint where id = $1",
} as const;

const withdrawStatement = {
  name: "withdraw-environment-endpoint",
  text: `update endpoint set enabled = false, disabled_because = 'environment', version = version + 1, changed_at = clock_timestamp()
    where id = $1 and enabled`,
} as const;

/**
 * Stores the endpoint of the environment, or disables it if the variable is no longer set. What is due is sent when it is enabled. When its
 * secret changes, the old one signs too for 24 hours.
 */
export async function storeEnvironmentEndpoint(
  pool: pg.Pool,
  sealer: Sealer,
  endpoint: EnvironmentEndpoint | undefined,
): Promise<void> {
  if (!endpoint) {
    await run(pool, withdrawStatement, [environmentId]);
    return;
  }
  const { url, secret } = endpoint;
  await run(pool, enableStatement, [environmentId, url]);
  const [stored] = await run<{ secret: Buffer }>(pool, environmentSecretStatement, [environmentId]);
  const old = stored && openSecret(sealer, environmentId, stored.secret);
  if (old === secret) return;
  const sealed = sealSecret(sealer, environmentId, secret);
  await run(pool, storeStatement, [environmentId, url, sealed, stored?.secret, old !== undefined]);
}

const secretsStatement = {
  name: "read-endpoint-secrets",
  text: "select id, secret, old_secret from endpoint where not is_deleted and notification is null",
} as const;

const resealStatement = {
  name: "reseal-endpoint-secret",
  text: "update endpoint set secret = $2, old_secret = $3 where id = $1 and secret = $4",
} as const;

type SecretRow = { id: string; secret: Buffer; old_secret: Buffer | null };

/** Encrypts anew, with the newest `TUKIO_SECRET`, what an older one has encrypted, so that the older one can be removed. */
export async function resealSecrets(
  pool: pg.Pool,
  { sealer, newest }: { sealer: Sealer; newest: Sealer },
): Promise<void> {
  for (const { id, secret, old_secret } of await run<SecretRow>(pool, secretsStatement, [])) {
    if (openSecret(newest, id, secret) !== undefined) continue;
    const reseal = (sealed: Buffer | null): Buffer | null => {
      const text = sealed && openSecret(sealer, id, sealed);
      return text ? sealSecret(newest, id, text) : null;
    };
    const sealed = reseal(secret);
    if (sealed) await run(pool, resealStatement, [id, sealed, reseal(old_secret), secret]);
  }
}
