// The answers of the admin API that only the pages of administration use.

import type { CeilingUse, Instance, Price } from "./types";

export interface MasterKey {
  readonly id: string;
  readonly state: "current" | "old" | "retired";
  readonly present: boolean;
  readonly createdAt: string;
  readonly retiredAt: string | null;
  readonly keys: number;
  readonly keysLive: number;
}

export interface Hold {
  readonly id: string;
  readonly kind: "request" | "escrow";
  readonly keyId: string;
  readonly at: string;
  readonly activations: number;
  readonly tokens: number;
  readonly spendUsd: string;
}

export interface HoldList {
  readonly holds: readonly Hold[];
  readonly nextBefore: string | null;
}

export interface StoreStats {
  readonly batches: number;
  readonly operations: number;
  readonly commitFailures: number;
  readonly holdsExceeded: number;
  readonly overruns: number;
  readonly queueLength: number;
}

export interface InstanceState extends Instance {
  readonly store: StoreStats;
}

export interface PriceList {
  readonly version: string;
  readonly prices: readonly Price[];
}

/** What answers about something with rules say beside it. */
export interface WithCeilings {
  readonly ceilingsUsed: readonly CeilingUse[];
}
