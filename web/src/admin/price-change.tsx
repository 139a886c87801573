// How a price is changed. Not here: prices decide what a limit in money is worth, are read when the server starts, and are named
// by their version in each call that they were charged by. They are the operator's files; this page writes the text for them.

import type { Price } from "../api/types";
import { Copy } from "../ui/button";
import { Name } from "../ui/text";
import { rowOf } from "./price-row";

const NEW: Price = { provider: "openai", model: "gpt-tomorrow-*", inputUsd: "2.50", cachedInputUsd: "0.25", outputUsd: "10", contextWindow: null, maxOutput: null, source: "", custom: false };

const COMMANDS = `till prices check my-prices.toml
till prices update my-prices.toml --data DIR
`;

/** @param of the price to start from; without any, a model that nobody knows yet. */
export function PriceChange({ of }: { readonly of: Price | undefined }) {
  const row = rowOf(of ?? NEW);
  return (
    <details class="prose">
      <summary>Add or change a price</summary>
      <p>
        Prices are changed by whoever runs the server, in a file with a row for each model, in US dollars per million tokens. To start from, this is{" "}
        {of === undefined ? (
          "an example:"
        ) : (
          <>
            what is in force for <Name text={of.model} /> (search for another one below):
          </>
        )}
      </p>
      <div class="once">
        <pre tabIndex={0} aria-label="A row of my-prices.toml">
          {row}
        </pre>
        <Copy text={row} label="Copy the row" />
      </div>
      <p>
        Then let till look at it, and put it into the data directory. It counts from the next start of the server on; calls that there were keep their cost.
      </p>
      <div class="once">
        <pre tabIndex={0} aria-label="Commands">
          {COMMANDS}
        </pre>
        <Copy text={COMMANDS} label="Copy the commands" />
      </div>
      <p class="hint">
        A row replaces all prices of its model, those of long inputs and service tiers too: <code>till prices check</code> says which ones it takes away, and <code>till prices show MODEL</code> has all that there are. Rows of the
        configuration file stand before those of the data directory.
      </p>
    </details>
  );
}
