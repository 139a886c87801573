// What models cost, as far as this instance knows. Prices are changed in files, not here: docs/prices.md.

import { useMemo } from "preact/hooks";
import { call } from "../api/client";
import type { PriceList } from "../api/admin-types";
import type { Price } from "../api/types";
import { compact, whole } from "../format/number";
import { useLoad } from "../load";
import { place, setQuery } from "../router";
import { Checkbox, Select, TextField } from "../ui/field";
import { Panel } from "../ui/page";
import { Empty } from "../ui/state";
import { type Column, Table } from "../ui/table";
import { Name } from "../ui/text";
import { PriceChange } from "./price-change";

/** Prices are exact decimals of their own, more of them behind the point than money has. */
const price = (amount: string | null) => (amount === null ? <span class="muted">–</span> : `$${amount}`);

const tokens = (count: number | null) => (count === null ? <span class="muted">–</span> : <span title={`${whole(count)} tokens`}>{compact(count)}</span>);

const COLUMNS: readonly Column<Price>[] = [
  { id: "model", title: "Model", width: "minmax(10rem, 2fr)", cell: (row) => <Name text={row.model} max={100} /> },
  { id: "provider", title: "Provider", width: "minmax(6rem, 0.9fr)", isMinor: true, cell: (row) => <Name text={row.provider} max={40} /> },
  { id: "input", title: "Input", width: "minmax(5rem, 0.8fr)", align: "end", cell: (row) => price(row.inputUsd) },
  { id: "cached", title: "Cached input", width: "minmax(7.25rem, 0.8fr)", align: "end", isMinor: true, cell: (row) => price(row.cachedInputUsd) },
  { id: "output", title: "Output", width: "minmax(5rem, 0.8fr)", align: "end", cell: (row) => price(row.outputUsd) },
  { id: "window", title: "Context", width: "minmax(5rem, 0.7fr)", align: "end", isMinor: true, cell: (row) => tokens(row.contextWindow) },
  { id: "most", title: "Most output", width: "minmax(7rem, 0.7fr)", align: "end", isMinor: true, cell: (row) => tokens(row.maxOutput) },
  { id: "source", title: "From", width: "minmax(8rem, 0.8fr)", isMinor: true, cell: (row) => <span class={row.custom ? "status on" : undefined}>{row.source}</span> },
];

export function Prices() {
  const { query } = place.value;
  const provider = query.get("provider") ?? "";
  const search = query.get("search") ?? "";
  const isCustom = query.get("custom") === "1";
  // The whole table is a few thousand rows and changes at a restart only.
  const loaded = useLoad((signal) => call<PriceList>("GET", "/admin/prices", { signal }), []);
  const prices = loaded.data?.prices ?? [];
  const providers = useMemo(() => [...new Set(prices.map((row) => row.provider))].sort(), [loaded.data]);
  const rows = useMemo(() => {
    const wanted = search.trim().toLowerCase();
    return prices.filter((row) => (provider === "" || row.provider === provider) && (!isCustom || row.custom) && row.model.toLowerCase().includes(wanted));
  }, [loaded.data, provider, search, isCustom]);
  return (
    <Panel title="Prices in US dollars per million tokens">
      <p class="prose">
        Calls are charged by these. A model that is not among them has no price, and a key with a limit in dollars can't ask it. Long inputs, service tiers and other units can cost
        otherwise: <code>till prices show MODEL</code> says so.
      </p>
      <p class="prose">
        <b>From</b> says where a price comes from: <code>genai-prices</code> and <code>litellm</code> are the tables inside of till, <code>configuration</code> is a row of this instance, which stands before them.
      </p>
      <PriceChange of={rows.find((row) => row.model === search.trim()) ?? rows[0]} />
      <div class="filters pairs">
        <Select label="Provider" value={provider} onChange={(value) => setQuery({ provider: value })} choices={[{ value: "", label: "All providers" }, ...providers.map((id) => ({ value: id, label: id }))]} />
        <TextField label="Model" type="search" value={search} onInput={(value) => setQuery({ search: value })} placeholder="Part of its name" spellcheck={false} autocomplete="off" />
        <Checkbox label="Only those of this instance" checked={isCustom} onChange={(checked) => setQuery({ custom: checked ? "1" : null })} />
      </div>
      {loaded.data && (
        <p class="hint" role="status">
          {whole(rows.length)} of {whole(prices.length)} models, {whole(prices.filter((row) => row.custom).length)} of them of this instance. In force are the prices <code>{loaded.data.version}</code>, which each call that is charged by
          them names.
        </p>
      )}
      <Table
        label="Prices"
        columns={COLUMNS}
        rows={rows}
        id={(row) => `${row.provider} ${row.model}`}
        rowHeight={36}
        isLoading={loaded.isLoading}
        error={loaded.error}
        onRetry={loaded.reload}
        empty={
          <Empty title="No model fits.">
            <p>Try a shorter part of the name, or all providers.</p>
          </Empty>
        }
      />
    </Panel>
  );
}
