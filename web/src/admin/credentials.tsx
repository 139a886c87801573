// Upstream credentials: real keys that are stored once, by name. They go in and never come out.

import { useState } from "preact/hooks";
import { call, path } from "../api/client";
import type { WithCeilings } from "../api/admin-types";
import type { Credential, Provider } from "../api/types";
import { changed } from "../live";
import { useLoad } from "../load";
import { Link, navigate } from "../router";
import { may, self } from "../session";
import { Button } from "../ui/button";
import { ask } from "../ui/dialog";
import { Select, TextArea, TextField } from "../ui/field";
import { Panel } from "../ui/page";
import { Empty, Show } from "../ui/state";
import { Status } from "../ui/status";
import type { Column } from "../ui/table";
import { Ago, Name, Time } from "../ui/text";
import { toast } from "../ui/toast";
import { Detail, Version } from "./detail";
import { EntityTable } from "./entity-table";
import { FormDialog, ifMatch, newWord, once, orReload } from "./form-dialog";
import { liveKeys } from "./live-keys";
import { useNewRules } from "./new-rules";
import { rulesInShort } from "./policy";
import { CeilingBars, PolicyFacts } from "./policy-view";
import { ProjectSelect } from "./role-fields";
import { RulesDialog } from "./rules-dialog";

type Answer = { readonly credential: Credential } & WithCeilings;

const at = (name: string): string => path`/admin/credentials/${name}`;
const page = (name: string): string => `/admin/credentials/${encodeURIComponent(name)}`;

/** Whose keys may be minted from it. */
function forWhom(of: Credential): string {
  if (of.project !== null) return of.project;
  if (of.projects === null) return "all projects";
  return of.projects.join(", ") || "no project";
}

const COLUMNS: readonly Column<Credential>[] = [
  {
    id: "name",
    title: "Name",
    width: "minmax(8rem, 1.4fr)",
    cell: (one) => (
      <Link to={page(one.name)}>
        <Name text={one.name} max={80} />
      </Link>
    ),
  },
  { id: "provider", title: "Provider", width: "minmax(6rem, 1fr)", cell: (one) => <Name text={one.provider} max={40} /> },
  { id: "hint", title: "Ends in", width: "minmax(5rem, 0.5fr)", isMinor: true, cell: (one) => (one.keyHint === null ? <span class="muted">–</span> : <code>…{one.keyHint}</code>) },
  { id: "for", title: "For keys of", width: "minmax(7rem, 1.2fr)", cell: (one) => <Name text={forWhom(one)} max={80} /> },
  { id: "rules", title: "Rules", width: "minmax(8rem, 1.4fr)", isMinor: true, cell: (one) => <Name text={rulesInShort(one.policy) || "none"} max={120} /> },
  { id: "state", title: "State", width: "minmax(5.5rem, 0.6fr)", isMinor: true, cell: (one) => <Status status={one.removedAt !== null ? "ended" : one.usable ? "ok" : "failed"} /> },
  { id: "changed", title: "Changed", width: "minmax(7rem, 0.7fr)", isMinor: true, cell: (one) => <Ago at={one.updatedAt} /> },
];

export function Credentials() {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <EntityTable<Credential>
        title="Upstream credentials"
        at="/admin/credentials"
        field="credentials"
        id={(one) => one.name}
        columns={COLUMNS}
        ended="Show removed ones"
        mayCreate="credentials.write"
        create={
          <Button kind="main" onClick={() => setOpen(true)}>
            Store a credential
          </Button>
        }
        empty={
          <Empty title="No upstream credential is stored.">
            <p>Store a real key once, by name, and whoever mints from it never sees it.</p>
          </Empty>
        }
      />
      {isOpen && <CreateDialog onClose={() => setOpen(false)} />}
    </>
  );
}

const words = (text: string): readonly string[] => text.split(/[\s,]+/).filter((one) => one !== "");

function CreateDialog({ onClose }: { readonly onClose: () => void }) {
  const [name, setName] = useState("");
  const [provider, setProvider] = useState("openai");
  const [key, setKey] = useState("");
  const [project, setProject] = useState("");
  const [projects, setProjects] = useState("");
  const rules = useNewRules("Rules for the keys that are minted from it", "its keys");
  const [word] = useState(newWord);
  const providers = useLoad(async (signal) => (await call<{ providers: Provider[] }>("GET", "/admin/providers", { signal })).providers, []);
  const isBound = self.value?.project != null;
  const submit = async (): Promise<boolean> => {
    const policy = rules.read();
    if (policy === null) return false;
    const body = {
      name: name.trim(),
      provider,
      upstream_key: key.trim(),
      ...(project && { project }),
      ...(!project && !isBound && words(projects).length > 0 && { projects: words(projects) }),
      ...policy,
    };
    await call("POST", "/admin/credentials", { body, headers: once(word) });
    changed(["admin"]);
    toast(`${name.trim()} is stored. Keys are minted from it by this name.`);
    navigate(page(name.trim()));
    return true;
  };
  return (
    <FormDialog title="Store an upstream credential" action="Store" onClose={onClose} onSubmit={submit} wide>
      <div class="fields">
        <TextField label="Name" value={name} onInput={setName} required maxLength={64} autocomplete="off" spellcheck={false} placeholder="openai-prod" hint="Lower-case letters, digits and hyphens. It can't be changed or used again." />
        <Select label="Provider" value={provider} onChange={setProvider} choices={(providers.data ?? []).map((one) => ({ value: one.id, label: one.name }))} hint="It can't be changed." />
      </div>
      <TextField label="Real key" type="password" value={key} onInput={setKey} required autocomplete="off" spellcheck={false} hint="Kept sealed by the master key. No answer, log or page ever shows it." />
      <div class="fields">
        <ProjectSelect value={project} onChange={setProject} everywhere="The whole instance" hint="One of a project belongs to it and ends with it." />
        {!isBound && project === "" && <TextArea label="For keys of" value={projects} onInput={setProjects} hint="Ids of projects, one on a line; of all if empty" placeholder="search-team" rows={2} />}
      </div>
      {rules.fields}
    </FormDialog>
  );
}

export function CredentialDetail({ id }: { readonly id: string }) {
  const loaded = useLoad((signal) => call<Answer>("GET", at(id), { signal }), [id], ["admin", "usage"], 3000);
  return <Show loaded={loaded}>{(answer) => <Shown answer={answer} reload={loaded.reload} />}</Show>;
}

function Shown({ answer, reload }: { readonly answer: Answer; readonly reload: () => void }) {
  const { credential, ceilingsUsed } = answer;
  const [dialog, setDialog] = useState<"rules" | "key" | "projects" | null>(null);
  const own = self.value?.project ?? null;
  // Those of the whole instance are only minted from by somebody who is bound to a project.
  const isMine = may("credentials.write") && credential.removedAt === null && (own === null || credential.project === own);
  const close = () => setDialog(null);
  const remove = async () => {
    const keys = await liveKeys({ upstream: credential.name });
    ask({
      title: `Remove ${credential.name}?`,
      text: (
        <>
          <p>
            This revokes <strong>{keys}</strong> that {keys === "1 live key" ? "was" : "were"} minted from it, cuts their streams, and forgets the real key, at once.
          </p>
          <p>It can't be undone, and the name can't be used again. To change the real key alone, replace it instead: the scoped keys then go on.</p>
        </>
      ),
      action: "Remove",
      typed: credential.name,
      run: () =>
        orReload(async () => {
          await call("DELETE", at(credential.name), { headers: ifMatch(credential.version) });
          changed(["admin", "keys"]);
          toast(`${credential.name} is removed.`);
          reload();
        }),
    });
  };
  return (
    <Detail
      back={{ to: "/admin/credentials", text: "All upstream credentials" }}
      name={<Name text={credential.name} />}
      actions={
        isMine && (
          <>
            <Button onClick={() => setDialog("key")}>Replace the real key</Button>
            {credential.project === null && <Button onClick={() => setDialog("projects")}>Change projects</Button>}
            <Button kind="danger" onClick={() => void remove()}>
              Remove …
            </Button>
          </>
        )
      }
    >
      {credential.removedAt !== null ? (
        <p class="warning">
          This credential was removed <Time at={credential.removedAt} />. Its scoped keys are revoked.
        </p>
      ) : (
        !credential.usable && (
          <p class="warning">
            Its real key can't be unsealed here: its master key is missing. Its scoped keys are refused as <code>credential_denied</code> until it gets its real key again.
          </p>
        )
      )}
      <Panel title="About it">
        <dl class="facts">
          <dt>Provider</dt>
          <dd>
            <Name text={credential.provider} />
          </dd>
          <dt>Real key</dt>
          <dd>{credential.keyHint === null ? "not shown" : <code>…{credential.keyHint}</code>}</dd>
          <dt>Belongs to</dt>
          <dd>{credential.project === null ? "the whole instance" : <Link to={`/admin/projects/${encodeURIComponent(credential.project)}`}>{credential.project}</Link>}</dd>
          <dt>For keys of</dt>
          <dd>
            <Name text={forWhom(credential)} max={2000} />
          </dd>
          <dt>Keys</dt>
          <dd>
            <Link to={`/keys?upstream=${encodeURIComponent(credential.name)}`}>Keys that were minted from it</Link>
          </dd>
          <Version of={credential} target={credential.name} />
        </dl>
      </Panel>
      <Panel title="Rules for the keys that are minted from it" actions={isMine && <Button onClick={() => setDialog("rules")}>Change rules</Button>}>
        {ceilingsUsed.length > 0 && (
          <div class="wide-bars">
            <CeilingBars policy={credential.policy} used={ceilingsUsed} />
          </div>
        )}
        <PolicyFacts policy={credential.policy} none="None of its own; those of the project count." />
      </Panel>
      {dialog === "rules" && <RulesDialog of={credential} at={at(credential.name)} name={credential.name} whose="its keys" onClose={close} onDone={reload} />}
      {dialog === "key" && <KeyDialog of={credential} onClose={close} onDone={reload} />}
      {dialog === "projects" && <ProjectsDialog of={credential} onClose={close} onDone={reload} />}
    </Detail>
  );
}

interface DialogProps {
  readonly of: Credential;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

function KeyDialog({ of, onClose, onDone }: DialogProps) {
  const [key, setKey] = useState("");
  const submit = async () => {
    await call("PATCH", at(of.name), { body: { upstream_key: key.trim() }, headers: ifMatch(of.version) });
    changed(["admin"]);
    toast(`${of.name} has another real key; its scoped keys use it from their next call on.`);
    onDone();
  };
  return (
    <FormDialog title={`Replace the real key of ${of.name}`} action="Replace" onClose={onClose} onSubmit={submit}>
      <p>Its scoped keys stay as they are and use the new key from their next call on. Calls under way end with the old one; revoke that at the provider afterwards.</p>
      <TextField label="New real key" type="password" value={key} onInput={setKey} required autocomplete="off" spellcheck={false} />
    </FormDialog>
  );
}

function ProjectsDialog({ of, onClose, onDone }: DialogProps) {
  const [projects, setProjects] = useState((of.projects ?? []).join("\n"));
  const submit = async () => {
    const list = words(projects);
    await call("PATCH", at(of.name), { body: { projects: list.length === 0 ? null : list }, headers: ifMatch(of.version) });
    changed(["admin"]);
    onDone();
  };
  return (
    <FormDialog title={`Whose keys may be minted from ${of.name}`} action="Save" onClose={onClose} onSubmit={submit}>
      <TextArea label="Projects" value={projects} onInput={setProjects} hint="Ids, one on a line; all if empty. Keys that were minted before go on." rows={4} />
    </FormDialog>
  );
}
