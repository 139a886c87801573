import { Page } from "../ui/page";

export function KeyCreatePage() {
  return <Page title="New key">…</Page>;
}
