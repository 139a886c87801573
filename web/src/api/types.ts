// The answers of the admin API, as far as pages use them; docs/openapi.json says the same.

export type Role = "owner" | "admin" | "minter" | "auditor" | "viewer";

export type Permission =
  | "self.read"
  | "keys.read"
  | "keys.create"
  | "keys.write"
  | "usage.read"
  | "account.read"
  | "credentials.read"
  | "credentials.write"
  | "projects.read"
  | "projects.write"
  | "members.read"
  | "members.write"
  | "tokens.read"
  | "tokens.write"
  | "audit.read"
  | "audit.export"
  | "holds.read"
  | "holds.forgive"
  | "instance.read"
  | "instance.write"
  | "metrics.read"
  | "backups.write"
  | "master_keys.read"
  | "master_keys.write";

export interface Self {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly project: string | null;
  readonly permissions: readonly Permission[];
}

export interface LoginAnswer {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly project: string | null;
  readonly csrfToken: string;
  readonly expiresAt: string;
}

export type KeyStatus = "active" | "pending" | "paused" | "exhausted" | "expired" | "revoked";
export const KEY_STATUSES: readonly KeyStatus[] = ["active", "pending", "paused", "exhausted", "expired", "revoked"];

export interface Rate {
  readonly requestsPerMinute: number | null;
  readonly tokensPerMinute: number | null;
  readonly concurrent: number | null;
}

export interface ScopeParameters {
  readonly tools?: boolean | null;
  readonly hostedTools?: boolean | null;
  readonly imageInput?: boolean | null;
  readonly store?: boolean | null;
  readonly maxOutputTokens?: number | null;
  readonly values?: Readonly<Record<string, unknown>> | null;
}

export interface KeyScope {
  readonly endpoints?: readonly string[] | null;
  readonly models?: readonly string[] | null;
  readonly networks?: readonly string[] | null;
  readonly parameters?: ScopeParameters | null;
}

export interface Key {
  readonly id: string;
  readonly tenantId: string;
  readonly createdBy: string | null;
  readonly upstream: string | null;
  readonly version: number;
  readonly provider: string;
  readonly origin: string;
  readonly masterKey: string | null;
  readonly status: KeyStatus;
  readonly maxActivations: number | null;
  readonly usedActivations: number;
  readonly maxTokens: number | null;
  readonly usedTokens: number;
  readonly maxSpendUsd: string | null;
  readonly usedSpendUsd: string;
  readonly clamp: boolean;
  readonly dangerAllowUnbounded: boolean;
  readonly durability: "ahead" | "call";
  readonly scope: KeyScope;
  readonly rate: Rate;
  readonly ipWhitelist: readonly string[];
  readonly createdAt: string;
  readonly lastUsedAt: string | null;
  readonly revokedAt: string | null;
  readonly expiresAt: string | null;
  readonly notBefore: string | null;
  readonly activateBy: string | null;
  readonly idleExpirySeconds: number | null;
  readonly pausedAt: string | null;
  readonly pausedReason: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface CreatedKey extends Key {
  readonly scopedKey?: string;
  readonly claimUrl?: string;
  readonly claimExpiresAt?: string;
}

export interface KeyList {
  readonly keys: readonly Key[];
  readonly nextCursor?: string | null;
}

export interface Explanation {
  readonly allowed: boolean;
  readonly code: string | null;
  readonly message: string | null;
  readonly steps: readonly { readonly step: string; readonly outcome: string; readonly reason: string }[];
}

export interface Tokens {
  readonly total: number;
  readonly input: number;
  readonly cacheRead: number;
  readonly cacheWrite: number;
  readonly output: number;
  readonly reasoning: number;
}

export type Outcome = "complete" | "charged" | "unbilled" | "free" | "unmetered" | "unsent" | "denied" | "lost";
export const OUTCOMES: readonly Outcome[] = ["complete", "charged", "unbilled", "free", "unmetered", "unsent", "denied", "lost"];

export interface UsageRecord {
  readonly seq: number;
  readonly at: string;
  readonly requestId: string;
  readonly keyId: string;
  readonly provider: string;
  readonly method: string;
  readonly endpoint: string;
  readonly model: string | null;
  readonly status: number | null;
  readonly outcome: Outcome;
  readonly denial: string | null;
  readonly tokens: Tokens;
  readonly chargedTokens: number;
  readonly chargedUsd: string;
  readonly priceVersion: string | null;
  readonly latencyMs: number;
  readonly firstByteMs: number | null;
  readonly client: string | null;
  readonly streamed: boolean;
}

export interface UsageList {
  readonly records: readonly UsageRecord[];
  readonly nextBefore: number | null;
}

/** What is not told apart is null. */
export interface UsageSum {
  readonly day: string | null;
  readonly keyId: string | null;
  readonly project: string | null;
  readonly provider: string | null;
  readonly model: string | null;
  readonly endpoint: string | null;
  /** Whether this is all that `top` left over. */
  readonly rest: boolean;
  readonly calls: number;
  readonly tokens: Tokens;
  readonly chargedTokens: number;
  readonly chargedUsd: string;
}

export type UsageGroup = "key" | "project" | "provider" | "model" | "endpoint";

export interface DenialSum {
  readonly day: string | null;
  readonly keyId: string | null;
  readonly code: string | null;
  readonly count: number;
}

export interface Period {
  readonly calls: number;
  readonly tokens: number;
  readonly chargedUsd: string;
  readonly denials: number;
}

export interface Forecast {
  readonly key: Key;
  /** Which limit is reached first. */
  readonly limit: "activations" | "tokens" | "spend";
  /** When it will be reached if it goes on as in the last day. */
  readonly at: string;
}

export interface Overview {
  readonly today: Period;
  readonly month: Period;
  readonly keys: Readonly<Record<KeyStatus, number>>;
  readonly recent: { readonly calls: number; readonly failed: number; readonly since: string | null };
  readonly runningOut: readonly Forecast[];
  readonly expiring: readonly Key[];
}

export interface Provider {
  readonly id: string;
  readonly name: string;
  readonly aliases: readonly string[];
  readonly baseUrl: string | null;
  readonly sdkBaseUrl: string;
  readonly keyEnv: string | null;
  readonly custom: boolean;
}

/** US dollars per million tokens. */
export interface Price {
  readonly provider: string;
  readonly model: string;
  readonly inputUsd: string | null;
  readonly outputUsd: string | null;
  readonly cachedInputUsd: string | null;
  readonly contextWindow: number | null;
  readonly maxOutput: number | null;
  readonly source: string;
  readonly custom: boolean;
}

export interface KillSwitch {
  readonly on: boolean;
  readonly since: string | null;
  readonly reason: string | null;
}

export interface Instance {
  readonly id: string;
  readonly version: string;
  readonly publicUrl: string;
  readonly startedAt: string;
  readonly uptimeSeconds: number;
  readonly fence: { readonly storeIncarnation: number; readonly witnessIncarnation: number | null; readonly reason: string } | null;
}

export interface Limits {
  readonly maxActivations: number | null;
  readonly maxTokens: number | null;
  readonly maxSpendUsd: string | null;
}

export interface Policy {
  readonly ceilings: { readonly day: Limits; readonly month: Limits; readonly lifetime: Limits };
  readonly maxLiveKeys: number | null;
  readonly providers: readonly string[] | null;
  readonly models: readonly string[] | null;
  readonly keyLimits: Limits;
  readonly maxKeyLifetimeSeconds: number | null;
}

export interface CeilingUse {
  readonly window: string;
  readonly usedActivations: number;
  readonly usedTokens: number;
  readonly usedSpendUsd: string;
}

export interface Project {
  readonly id: string;
  readonly name: string;
  readonly policy: Policy;
  readonly version: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly endedAt: string | null;
}

export interface Member {
  readonly id: string;
  readonly login: string;
  readonly name: string;
  readonly role: Role;
  readonly project: string | null;
  readonly policy: Policy;
  readonly canSignIn: boolean;
  readonly version: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly lastUsedAt: string | null;
  readonly removedAt: string | null;
}

export interface AdminToken {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly project: string | null;
  readonly member: string | null;
  readonly networks: readonly string[] | null;
  readonly policy: Policy;
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
  readonly version: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly revokedAt: string | null;
}

export interface Credential {
  readonly name: string;
  readonly provider: string;
  readonly keyHint: string | null;
  readonly project: string | null;
  readonly projects: readonly string[] | null;
  readonly policy: Policy;
  readonly usable: boolean;
  readonly version: number;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly removedAt: string | null;
}

export interface AuditEntry {
  readonly seq: number;
  readonly at: string;
  readonly action: string;
  readonly actor: {
    readonly kind: string;
    readonly id: string;
    readonly address: string | null;
    readonly requestId: string | null;
  };
  readonly target: string;
  /** JSON. */
  readonly detail: string;
  readonly hash: string;
  readonly prevHash: string;
}
