// Rules of projects, members, tokens and credentials: as words, as a form, and as the API takes them.

import type { Limits, Policy } from "../api/types";
import { span, parseSpan } from "../format/duration";
import { decimal, nanos, usd, usdExact } from "../format/money";
import { compact, counted, parseWhole, whole } from "../format/number";

export const WINDOWS = ["day", "month", "lifetime"] as const;
export type Window = (typeof WINDOWS)[number];

const WINDOW_WORDS: Readonly<Record<Window, string>> = { day: "a day (UTC)", month: "a month (UTC)", lifetime: "in all" };

const NO_LIMITS: Limits = { maxActivations: null, maxTokens: null, maxSpendUsd: null };
export const NO_RULES: Policy = {
  ceilings: { day: NO_LIMITS, month: NO_LIMITS, lifetime: NO_LIMITS },
  maxLiveKeys: null,
  providers: null,
  models: null,
  keyLimits: NO_LIMITS,
  maxKeyLifetimeSeconds: null,
};

export const isUnlimited = (limits: Limits): boolean => limits.maxActivations === null && limits.maxTokens === null && limits.maxSpendUsd === null;

/** `$5.00, 10,000 calls` */
export function limitWords(limits: Limits, isExact = false): string {
  const words: string[] = [];
  const count = isExact ? whole : compact;
  if (limits.maxSpendUsd !== null) words.push(isExact ? usdExact(limits.maxSpendUsd) : usd(limits.maxSpendUsd));
  if (limits.maxTokens !== null) words.push(`${count(limits.maxTokens)} tokens`);
  if (limits.maxActivations !== null) words.push(`${count(limits.maxActivations)} ${limits.maxActivations === 1 ? "call" : "calls"}`);
  return words.join(", ");
}

export interface Rule {
  readonly label: string;
  readonly text: string;
}

/** Every rule there is, in words. */
export function rulesOf(policy: Policy): Rule[] {
  const rules: Rule[] = [];
  for (const window of WINDOWS) {
    const limits = policy.ceilings[window];
    if (!isUnlimited(limits)) rules.push({ label: `All keys together, ${WINDOW_WORDS[window]}`, text: `at most ${limitWords(limits, true)}` });
  }
  if (policy.maxLiveKeys !== null) rules.push({ label: "Live keys at a time", text: `at most ${counted(policy.maxLiveKeys, "key")}` });
  if (!isUnlimited(policy.keyLimits)) rules.push({ label: "Limits that each key needs", text: `at most ${limitWords(policy.keyLimits, true)}` });
  if (policy.maxKeyLifetimeSeconds !== null) rules.push({ label: "Each key ends within", text: span(policy.maxKeyLifetimeSeconds) });
  if (policy.providers !== null) rules.push({ label: "Providers", text: policy.providers.length === 0 ? "none" : policy.providers.join(", ") });
  if (policy.models !== null) rules.push({ label: "Models", text: policy.models.length === 0 ? "none" : policy.models.join(", ") });
  return rules;
}

/** What fits into a cell. */
export function rulesInShort(policy: Policy): string {
  const words = WINDOWS.filter((window) => !isUnlimited(policy.ceilings[window])).map(
    (window) => `${limitWords(policy.ceilings[window])} ${window === "lifetime" ? "in all" : `per ${window}`}`,
  );
  if (policy.maxLiveKeys !== null) words.push(counted(policy.maxLiveKeys, "live key"));
  if (!isUnlimited(policy.keyLimits)) words.push(`${limitWords(policy.keyLimits)} per key`);
  if (policy.maxKeyLifetimeSeconds !== null) words.push(`keys of ${span(policy.maxKeyLifetimeSeconds)}`);
  if (policy.providers !== null) words.push(counted(policy.providers.length, "provider"));
  if (policy.models !== null) words.push(counted(policy.models.length, "model pattern"));
  return words.join("; ");
}

/** What somebody typed. */
export interface LimitsForm {
  readonly usd: string;
  readonly tokens: string;
  readonly calls: string;
}

export type LimitsPlace = Window | "key";

export interface PolicyForm {
  readonly limits: Readonly<Record<LimitsPlace, LimitsForm>>;
  readonly liveKeys: string;
  readonly keyLifetime: string;
  readonly providers: string;
  readonly models: string;
}

const limitsForm = (limits: Limits): LimitsForm => ({
  usd: limits.maxSpendUsd ?? "",
  tokens: limits.maxTokens === null ? "" : String(limits.maxTokens),
  calls: limits.maxActivations === null ? "" : String(limits.maxActivations),
});

const listForm = (list: readonly string[] | null): string => (list ?? []).join("\n");

export function formOf(policy: Policy): PolicyForm {
  const { day, month, lifetime } = policy.ceilings;
  return {
    limits: { day: limitsForm(day), month: limitsForm(month), lifetime: limitsForm(lifetime), key: limitsForm(policy.keyLimits) },
    liveKeys: policy.maxLiveKeys === null ? "" : String(policy.maxLiveKeys),
    keyLifetime: policy.maxKeyLifetimeSeconds === null ? "" : span(policy.maxKeyLifetimeSeconds),
    providers: listForm(policy.providers),
    models: listForm(policy.models),
  };
}

/** What is wrong with a field, under its name: `day.usd`. */
export type Mistakes = Readonly<Record<string, string>>;

export type Parsed = { readonly policy: Policy } | { readonly mistakes: Mistakes };

const list = (text: string): readonly string[] => text.split(/[\s,]+/).filter((one) => one !== "");

/** Reads a form; what nobody touched stays as it was. */
export function policyOf(form: PolicyForm, was: Policy): Parsed {
  const mistakes: Record<string, string> = {};
  const number = (name: string, text: string, least: number): number | null => {
    if (text.trim() === "") return null;
    const value = parseWhole(text.trim());
    if (value !== null && value >= least) return value;
    mistakes[name] = `A whole number from ${least} on, such as 500 or 10k`;
    return null;
  };
  const money = (name: string, text: string): string | null => {
    if (text.trim() === "") return null;
    const value = nanos(text.replace(/^\s*\$/, ""));
    if (value !== null && value > 0n) return decimal(value);
    mistakes[name] = "An amount in US dollars above 0, such as 5 or 0.25";
    return null;
  };
  const limits = (place: LimitsPlace): Limits => ({
    maxActivations: number(`${place}.calls`, form.limits[place].calls, 1),
    maxTokens: number(`${place}.tokens`, form.limits[place].tokens, 1),
    maxSpendUsd: money(`${place}.usd`, form.limits[place].usd),
  });
  const lifetime = form.keyLifetime.trim() === "" ? null : parseSpan(form.keyLifetime);
  if (form.keyLifetime.trim() !== "" && (lifetime === null || lifetime === 0)) mistakes["keyLifetime"] = "A length of time, such as 7d or 12h";
  const words = (text: string, before: readonly string[] | null): readonly string[] | null => {
    if (text === listForm(before)) return before;
    const found = list(text);
    return found.length === 0 ? null : found;
  };
  const policy: Policy = {
    ceilings: { day: limits("day"), month: limits("month"), lifetime: limits("lifetime") },
    maxLiveKeys: number("liveKeys", form.liveKeys, 0),
    keyLimits: limits("key"),
    maxKeyLifetimeSeconds: lifetime,
    providers: words(form.providers, was.providers),
    models: words(form.models, was.models),
  };
  return Object.keys(mistakes).length > 0 ? { mistakes } : { policy };
}

function limitsBody(limits: Limits): object | undefined {
  if (isUnlimited(limits)) return undefined;
  return {
    max_activations: limits.maxActivations ?? undefined,
    max_tokens: limits.maxTokens ?? undefined,
    max_spend_usd: limits.maxSpendUsd ?? undefined,
  };
}

/** As the API takes it: what is absent is not restricted; no rules at all are `null`. */
export function policyBody(policy: Policy): object | null {
  const { day, month, lifetime } = policy.ceilings;
  const ceilings = { day: limitsBody(day), month: limitsBody(month), lifetime: limitsBody(lifetime) };
  const body = {
    ceilings: Object.values(ceilings).some((one) => one !== undefined) ? ceilings : undefined,
    max_live_keys: policy.maxLiveKeys ?? undefined,
    providers: policy.providers ?? undefined,
    models: policy.models ?? undefined,
    key_limits: limitsBody(policy.keyLimits),
    max_key_lifetime_seconds: policy.maxKeyLifetimeSeconds ?? undefined,
  };
  return Object.values(body).every((one) => one === undefined) ? null : body;
}

export const isSamePolicy = (one: Policy, other: Policy): boolean => JSON.stringify(policyBody(one)) === JSON.stringify(policyBody(other));
