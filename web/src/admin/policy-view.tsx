// Rules and what is used of ceilings.

import type { CeilingUse, Policy } from "../api/types";
import { share, usd, usdExact } from "../format/money";
import { compact, whole } from "../format/number";
import { Bar } from "../ui/bar";
import { Name } from "../ui/text";
import { rulesOf, WINDOWS } from "./policy";

const WORDS = { day: "today", month: "this month", lifetime: "in all" } as const;

/** A bar for each ceiling; nothing where there is none. */
export function CeilingBars({ policy, used }: { readonly policy: Policy; readonly used: readonly CeilingUse[] }) {
  const bars = WINDOWS.flatMap((window) => {
    const limits = policy.ceilings[window];
    const use = used.find((one) => one.window === window);
    if (use === undefined) return [];
    const when = WORDS[window];
    return [
      limits.maxSpendUsd !== null && (
        <Bar
          key={`${window} spend`}
          used={share(use.usedSpendUsd, limits.maxSpendUsd)}
          label={`Spend ${when}`}
          text={`${usd(use.usedSpendUsd)} of ${usd(limits.maxSpendUsd)} ${when}`}
          title={`${usdExact(use.usedSpendUsd)} of ${usdExact(limits.maxSpendUsd)} ${when} (days and months of UTC)`}
        />
      ),
      limits.maxTokens !== null && (
        <Bar
          key={`${window} tokens`}
          used={use.usedTokens / limits.maxTokens}
          label={`Tokens ${when}`}
          text={`${compact(use.usedTokens)} of ${compact(limits.maxTokens)} tok ${when}`}
          title={`${whole(use.usedTokens)} of ${whole(limits.maxTokens)} tokens ${when} (days and months of UTC)`}
        />
      ),
      limits.maxActivations !== null && (
        <Bar
          key={`${window} calls`}
          used={use.usedActivations / limits.maxActivations}
          label={`Calls ${when}`}
          text={`${compact(use.usedActivations)} of ${compact(limits.maxActivations)} calls ${when}`}
          title={`${whole(use.usedActivations)} of ${whole(limits.maxActivations)} calls ${when} (days and months of UTC)`}
        />
      ),
    ].filter((bar) => bar !== false);
  });
  return bars.length === 0 ? null : <span class="bars">{bars}</span>;
}

export function PolicyFacts({ policy, none }: { readonly policy: Policy; readonly none: string }) {
  const rules = rulesOf(policy);
  if (rules.length === 0) return <p class="muted">{none}</p>;
  return (
    <dl class="facts">
      {rules.map(({ label, text }) => (
        <>
          <dt>{label}</dt>
          <dd>
            <Name text={text} max={2000} />
          </dd>
        </>
      ))}
    </dl>
  );
}
