// How much of a limit is used. The number stands beside the bar; colour says nothing that the text does not.

import { compact, percent } from "../format/number";
import { share, usd, usdExact } from "../format/money";
import type { Key } from "../api/types";

interface BarProps {
  /** From 0 to 1. */
  readonly used: number;
  readonly label: string;
  readonly text: string;
  readonly title?: string;
}

export function Bar({ used, label, text, title }: BarProps) {
  const clamped = Math.min(1, Math.max(0, used));
  const level = clamped >= 1 ? "full" : clamped >= 0.8 ? "high" : "low";
  return (
    <span class="bar-row" title={title ?? `${label}: ${text}`}>
      <span class="bar-text number">{text}</span>
      <span
        class={`bar ${level}`}
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(clamped * 100)}
        aria-valuetext={`${text}, ${percent(clamped)}`}
      >
        <span style={{ width: `${clamped * 100}%` }} />
      </span>
    </span>
  );
}

/** A bar for each limit of a key. */
export function LimitBars({ of }: { readonly of: Key }) {
  return (
    <span class="bars">
      {of.maxSpendUsd !== null && (
        <Bar
          used={share(of.usedSpendUsd, of.maxSpendUsd)}
          label="Money used"
          text={`${usd(of.usedSpendUsd)} of ${usd(of.maxSpendUsd)}`}
          title={`Money used: ${usdExact(of.usedSpendUsd)} of ${usdExact(of.maxSpendUsd)}`}
        />
      )}
      {of.maxTokens !== null && (
        <Bar used={of.usedTokens / of.maxTokens} label="Tokens used" text={`${compact(of.usedTokens)} of ${compact(of.maxTokens)} tok`} />
      )}
      {of.maxActivations !== null && (
        <Bar
          used={of.usedActivations / of.maxActivations}
          label="Calls used"
          text={`${compact(of.usedActivations)} of ${compact(of.maxActivations)} calls`}
        />
      )}
    </span>
  );
}
