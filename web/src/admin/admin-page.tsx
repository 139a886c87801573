import { Page } from "../ui/page";

export function AdminPage() {
  return <Page title="Admin">…</Page>;
}
