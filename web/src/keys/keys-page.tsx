import { Page } from "../ui/page";

export function KeysPage() {
  return <Page title="Keys">…</Page>;
}
