import { Page } from "../ui/page";

export function KeyPage() {
  return <Page title="Key">…</Page>;
}
