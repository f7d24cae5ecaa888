/** The calls about API keys. */
import type { Client as Api } from "openapi-fetch";
import type { Caller, CallOptions } from "./call.ts";
import { createList, type List } from "./list.ts";
import type * as model from "./model.ts";
import type { paths } from "./schema.ts";

export interface Keys {
  /** Creates an API key. Keep the secret: it is shown only here. */
  create(draft: model.ApiKeyDraft, options?: CallOptions): Promise<model.ApiKeyWithSecret>;
  list(options?: CallOptions): Promise<model.ApiKey[]>;
  /** Revokes a key. It works on no node after 5 s. */
  revoke(id: string, options?: CallOptions): Promise<void>;
  /** The changes that were made with keys, newest first. */
  audit(filter?: model.AuditFilter, options?: CallOptions): List<model.AuditEntry>;
}

export const createKeys = ({ api, repeat, once }: Caller & { api: Api<paths> }): Keys => ({
  create: (body, options) => once((init) => api.POST("/v1/keys", { ...init, body }), options),
  list: async (options) => (await repeat((init) => api.GET("/v1/keys", { ...init }), options)).data,
  revoke(id, options) {
    const params = { path: { id } };
    return once((init) => api.DELETE("/v1/keys/{id}", { ...init, params }), options);
  },
  audit: (filter = {}, options) =>
    createList((cursor) => {
      const params = { query: { ...filter, ...(cursor !== undefined && { cursor }) } };
      return repeat((init) => api.GET("/v1/audit", { ...init, params }), options);
    }, filter.cursor),
});
