// Projects: whose keys they are, what may be minted in them, and what all of their keys may use together.

import { useState } from "preact/hooks";
import { call, path } from "../api/client";
import type { WithCeilings } from "../api/admin-types";
import type { Project } from "../api/types";
import { changed } from "../live";
import { useLoad } from "../load";
import { Link, navigate } from "../router";
import { may } from "../session";
import { Button } from "../ui/button";
import { ask } from "../ui/dialog";
import { TextField } from "../ui/field";
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
import { isUnlimited, type Mistakes, NO_RULES, formOf, policyBody, policyOf, rulesInShort, WINDOWS } from "./policy";
import { PolicyFields } from "./policy-form";
import { CeilingBars, PolicyFacts } from "./policy-view";
import { RulesDialog } from "./rules-dialog";

type Answer = { readonly project: Project } & WithCeilings;

const at = (id: string): string => path`/admin/projects/${id}`;
const page = (id: string): string => `/admin/projects/${encodeURIComponent(id)}`;

/** No answer about many has what is used, so rows ask for it once they are in view, if they have a ceiling. */
function RowCeilings({ of }: { readonly of: Project }) {
  const loaded = useLoad((signal) => call<Answer>("GET", at(of.id), { signal }), [of.id, of.version], ["usage"], 15_000);
  if (loaded.data === null) return <span class="muted">{loaded.error ? "can't be loaded" : "…"}</span>;
  return <CeilingBars policy={loaded.data.project.policy} used={loaded.data.ceilingsUsed} />;
}

/** The one that is always there was made at no time. */
const isFirst = (project: Project): boolean => Date.parse(project.createdAt) === 0;

const hasCeiling = (project: Project): boolean => WINDOWS.some((window) => !isUnlimited(project.policy.ceilings[window]));

const COLUMNS: readonly Column<Project>[] = [
  {
    id: "name",
    title: "Project",
    width: "minmax(8rem, 1.2fr)",
    cell: (project) => (
      <>
        <Link to={page(project.id)}>
          <Name text={project.name} max={80} />
        </Link>
        {project.name !== project.id && (
          <>
            <br />
            <small>{project.id}</small>
          </>
        )}
      </>
    ),
  },
  { id: "used", title: "Used of its ceilings", width: "minmax(14rem, 2fr)", cell: (project) => (hasCeiling(project) && project.endedAt === null ? <RowCeilings of={project} /> : <span class="muted">no ceiling</span>) },
  { id: "rules", title: "Rules", width: "minmax(8rem, 1.6fr)", isMinor: true, cell: (project) => <Name text={rulesInShort(project.policy) || "none"} max={160} /> },
  { id: "state", title: "State", width: "5.5rem", isMinor: true, cell: (project) => <Status status={project.endedAt === null ? "on" : "ended"} /> },
  { id: "created", title: "Made", width: "7rem", isMinor: true, cell: (project) => (isFirst(project) ? <span class="muted">at first</span> : <Ago at={project.createdAt} />) },
];

export function Projects() {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <EntityTable<Project>
        title="Projects"
        at="/admin/projects"
        field="projects"
        id={(project) => project.id}
        columns={COLUMNS}
        ended="Show ended ones"
        rowHeight={64}
        mayCreate="projects.write"
        create={
          <Button kind="main" onClick={() => setOpen(true)}>
            Make a project
          </Button>
        }
        empty={
          <Empty title="There is no project.">
            <p>Keys that name none belong to the project default, which is made with the first of them.</p>
          </Empty>
        }
      />
      {isOpen && <CreateDialog onClose={() => setOpen(false)} />}
    </>
  );
}

function CreateDialog({ onClose }: { readonly onClose: () => void }) {
  const [id, setId] = useState("");
  const [name, setName] = useState("");
  const [form, setForm] = useState(formOf(NO_RULES));
  const [mistakes, setMistakes] = useState<Mistakes>({});
  const [word] = useState(newWord);
  const submit = async (): Promise<boolean> => {
    const parsed = policyOf(form, NO_RULES);
    setMistakes("mistakes" in parsed ? parsed.mistakes : {});
    if ("mistakes" in parsed) return false;
    const body = { id: id.trim(), ...(name.trim() && { name: name.trim() }), policy: policyBody(parsed.policy) };
    await call("POST", "/admin/projects", { body, headers: once(word) });
    changed(["admin"]);
    toast(`The project ${id.trim()} is made.`);
    navigate(page(id.trim()));
    return true;
  };
  return (
    <FormDialog title="Make a project" action="Make it" onClose={onClose} onSubmit={submit} wide>
      <div class="fields">
        <TextField label="Id" value={id} onInput={setId} required maxLength={64} spellcheck={false} autocomplete="off" placeholder="search-team" hint="Lower-case letters, digits and hyphens. It can't be changed or used again." />
        <TextField label="Name" value={name} onInput={setName} maxLength={256} autocomplete="off" placeholder="Search team" hint="For people; the id if empty." />
      </div>
      <PolicyFields form={form} onChange={setForm} mistakes={mistakes} whose="its keys" />
    </FormDialog>
  );
}

export function ProjectDetail({ id }: { readonly id: string }) {
  const loaded = useLoad((signal) => call<Answer>("GET", at(id), { signal }), [id], ["admin", "usage"], 3000);
  return (
    <Show loaded={loaded}>
      {(answer) => <Shown answer={answer} reload={loaded.reload} />}
    </Show>
  );
}

function Shown({ answer, reload }: { readonly answer: Answer; readonly reload: () => void }) {
  const { project, ceilingsUsed } = answer;
  const [dialog, setDialog] = useState<"rules" | "name" | null>(null);
  const isMine = may("projects.write") && project.endedAt === null;
  const close = () => setDialog(null);
  const end = async () => {
    const keys = await liveKeys({ project: project.id });
    ask({
      title: `End the project ${project.id}?`,
      text: (
        <>
          <p>
            This revokes <strong>{keys}</strong> of this project and cuts their streams, at once. Its members and admin tokens may do nothing any more, and its
            upstream credentials are removed.
          </p>
          <p>What was used stays in the sums. This can't be undone, and the id can't be used again.</p>
        </>
      ),
      action: "End it",
      typed: project.id,
      run: () =>
        orReload(async () => {
          await call("DELETE", at(project.id), { headers: ifMatch(project.version) });
          changed(["admin", "keys"]);
          toast(`The project ${project.id} has ended.`);
          reload();
        }),
    });
  };
  return (
    <Detail
      back={{ to: "/admin/projects", text: "All projects" }}
      name={<Name text={project.name} />}
      actions={
        isMine && (
          <>
            <Button onClick={() => setDialog("name")}>Rename</Button>
            {project.id !== "default" && (
              <Button kind="danger" onClick={() => void end()}>
                End …
              </Button>
            )}
          </>
        )
      }
    >
      {project.endedAt !== null && (
        <p class="warning">
          This project ended <Time at={project.endedAt} />. Its keys are revoked.
        </p>
      )}
      <Panel title="Used of its ceilings">
        {ceilingsUsed.length === 0 ? (
          <p class="muted">It has no ceiling: its keys may use as much together as their own limits let them.</p>
        ) : (
          <div class="wide-bars">
            <CeilingBars policy={project.policy} used={ceilingsUsed} />
          </div>
        )}
        <p class="hint">Calls in flight count as used, with all that they can come to.</p>
      </Panel>
      <Panel title="Rules" actions={isMine && <Button onClick={() => setDialog("rules")}>Change rules</Button>}>
        <PolicyFacts policy={project.policy} none="None: anything may be minted in it." />
      </Panel>
      <Panel title="About it">
        <dl class="facts">
          <dt>Id</dt>
          <dd>
            <code>{project.id}</code>
          </dd>
          <dt>Keys</dt>
          <dd>
            <Link to={`/keys?project=${encodeURIComponent(project.id)}`}>Its keys</Link>
          </dd>
          <dt>Usage</dt>
          <dd>
            <Link to={`/usage?project=${encodeURIComponent(project.id)}&by=key`}>What they used</Link>
          </dd>
          <Version of={project} target={project.id} />
        </dl>
      </Panel>
      {dialog === "rules" && <RulesDialog of={project} at={at(project.id)} name={project.id} whose="its keys" onClose={close} onDone={reload} />}
      {dialog === "name" && <RenameDialog of={project} onClose={close} onDone={reload} />}
    </Detail>
  );
}

function RenameDialog({ of, onClose, onDone }: { readonly of: Project; readonly onClose: () => void; readonly onDone: () => void }) {
  const [name, setName] = useState(of.name);
  const submit = async () => {
    await call("PATCH", at(of.id), { body: { name: name.trim() }, headers: ifMatch(of.version) });
    changed(["admin"]);
    onDone();
  };
  return (
    <FormDialog title={`Rename ${of.id}`} action="Save" onClose={onClose} onSubmit={submit}>
      <TextField label="Name" value={name} onInput={setName} required maxLength={256} autocomplete="off" hint="For people; the id stays." />
    </FormDialog>
  );
}
