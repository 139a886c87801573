// Administration: a section for each thing that is administered. What a role does not see has no entry.

import type { FunctionComponent } from "preact";
import type { Permission } from "../api/types";
import type { PageProps } from "../layout/pages";
import { Link } from "../router";
import { may, self } from "../session";
import { Page } from "../ui/page";
import { Empty } from "../ui/state";
import { Account } from "./account";
import { CredentialDetail, Credentials } from "./credentials";
import { Holds } from "./holds";
import { InstanceSection } from "./instance";
import { KillSwitchSection } from "./kill-switch";
import { MasterKeys } from "./master-keys";
import { MemberDetail, Members } from "./members";
import { Prices } from "./prices";
import { ProjectDetail, Projects } from "./projects";
import { TokenDetail, Tokens } from "./tokens";

interface Section {
  readonly id: string;
  readonly title: string;
  readonly needs: Permission;
  readonly list: FunctionComponent;
  readonly detail?: FunctionComponent<{ readonly id: string }>;
}

const SECTIONS: readonly Section[] = [
  { id: "projects", title: "Projects", needs: "projects.read", list: Projects, detail: ProjectDetail },
  { id: "members", title: "Members", needs: "members.read", list: Members, detail: MemberDetail },
  { id: "tokens", title: "Admin tokens", needs: "tokens.read", list: Tokens, detail: TokenDetail },
  { id: "credentials", title: "Upstream credentials", needs: "credentials.read", list: Credentials, detail: CredentialDetail },
  { id: "prices", title: "Prices", needs: "instance.read", list: Prices },
  { id: "master-keys", title: "Master keys", needs: "master_keys.read", list: MasterKeys },
  { id: "kill-switch", title: "Kill switch", needs: "instance.read", list: KillSwitchSection },
  { id: "holds", title: "Holds left by a crash", needs: "holds.read", list: Holds },
  { id: "instance", title: "Instance", needs: "instance.read", list: InstanceSection },
  { id: "account", title: "Your account", needs: "self.read", list: Account },
];

export function AdminPage({ params }: PageProps) {
  const wanted = params["section"] ?? "projects";
  const id = params["id"];
  const shown = SECTIONS.filter((section) => may(section.needs));
  const section = shown.find((one) => one.id === wanted);
  const Detail = section?.detail;
  return (
    <Page title={section === undefined ? "Admin" : id === undefined ? section.title : `${section.title}: ${id}`} heading="Admin">
      <div class="with-sections">
        <nav class="sections" aria-label="Administration">
          <ul>
            {shown.map((one) => (
              <li key={one.id}>
                <Link to={`/admin/${one.id}`} aria-current={one.id === wanted ? (id === undefined ? "page" : "true") : undefined}>
                  {one.title}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <div class="section">
          {section === undefined || (id !== undefined && Detail === undefined) ? (
            <Empty title={section === undefined && SECTIONS.some((one) => one.id === wanted) ? `A role of ${self.value?.role ?? "yours"} does not see this.` : "There is no such page."}>
              <p>Choose one of those beside this, or ask somebody who administers this instance.</p>
            </Empty>
          ) : id !== undefined && Detail !== undefined ? (
            <Detail id={id} />
          ) : (
            <section.list />
          )}
        </div>
      </div>
    </Page>
  );
}
