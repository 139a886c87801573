import type { KeyStatus } from "../api/types";

/** The state of something: a word with a colour of its own. */
export function Status({ status }: { readonly status: KeyStatus | "on" | "off" | "ended" | "failed" | "ok" }) {
  return <span class={`status ${status}`}>{status}</span>;
}

export function Stat({ label, value, detail, title }: { readonly label: string; readonly value: string; readonly detail?: string | undefined; readonly title?: string | undefined }) {
  return (
    <div class="stat">
      <dt>{label}</dt>
      <dd class="number" title={title}>
        {value}
        {detail !== undefined && <small>{detail}</small>}
      </dd>
    </div>
  );
}
