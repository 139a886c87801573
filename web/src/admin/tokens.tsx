// Admin tokens: for programs. Their text is shown once.

import { useState } from "preact/hooks";
import { call } from "../api/client";
import type { AdminToken, Member, Role } from "../api/types";
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
import { useNewRules } from "./new-rules";
import { PolicyFacts } from "./policy-view";
import { ProjectSelect, RoleSelect } from "./role-fields";
import { mayAdminister } from "./roles";
import { RulesDialog } from "./rules-dialog";
import { type Answer, at, EditDialog, NO_TIME, OWNER, RotateDialog, type SecretAnswer, timeToCome, words } from "./token-dialogs";
import { TokenOnce } from "./token-once";

const page = (id: string): string => `/admin/tokens/${encodeURIComponent(id)}`;

function state(token: AdminToken): "on" | "ended" {
  const isOver = token.expiresAt !== null && Date.parse(token.expiresAt) <= Date.now();
  return token.revokedAt !== null || isOver ? "ended" : "on";
}

const COLUMNS: readonly Column<AdminToken>[] = [
  {
    id: "name",
    title: "Name",
    width: "minmax(8rem, 1.4fr)",
    cell: (token) => (
      <Link to={page(token.id)}>
        <Name text={token.name} max={80} />
      </Link>
    ),
  },
  { id: "role", title: "Role", width: "minmax(5rem, 0.6fr)", cell: (token) => token.role },
  { id: "project", title: "Project", width: "minmax(6rem, 1fr)", cell: (token) => token.project ?? <span class="muted">everywhere</span> },
  { id: "state", title: "State", width: "5.5rem", isMinor: true, cell: (token) => <Status status={state(token)} /> },
  { id: "expires", title: "Ends", width: "minmax(7rem, 0.8fr)", isMinor: true, cell: (token) => <Ago at={token.expiresAt} /> },
  { id: "used", title: "Last used", width: "minmax(7rem, 0.8fr)", isMinor: true, cell: (token) => <Ago at={token.lastUsedAt} /> },
];

export function Tokens() {
  const [isOpen, setOpen] = useState(false);
  const [made, setMade] = useState<SecretAnswer | null>(null);
  return (
    <>
      <EntityTable<AdminToken>
        title="Admin tokens"
        at="/admin/tokens"
        field="tokens"
        id={(token) => token.id}
        columns={COLUMNS}
        ended="Show revoked ones"
        mayCreate="tokens.write"
        create={
          <Button kind="main" onClick={() => setOpen(true)}>
            Create a token
          </Button>
        }
        empty={
          <Empty title="There is no admin token that you see.">
            <p>Programs such as a CI administer with a token of their own, with the smallest role that does.</p>
          </Empty>
        }
      />
      {isOpen && <CreateDialog onClose={() => setOpen(false)} onMade={setMade} />}
      {made && (
        <TokenOnce
          title={`The token ${made.token.name}`}
          token={made.adminToken}
          onClose={() => {
            setMade(null);
            navigate(page(made.token.id));
          }}
        />
      )}
    </>
  );
}

const LIVES = [
  { value: "2592000", label: "30 days" },
  { value: "7776000", label: "90 days" },
  { value: "31536000", label: "365 days" },
  { value: "date", label: "On a date …" },
  { value: "", label: "Never" },
];

function CreateDialog({ onClose, onMade }: { readonly onClose: () => void; readonly onMade: (answer: SecretAnswer) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [project, setProject] = useState("");
  const [member, setMember] = useState("");
  const [life, setLife] = useState("7776000");
  const [end, setEnd] = useState("");
  const [isTried, setTried] = useState(false);
  const [networks, setNetworks] = useState("");
  const rules = useNewRules("Rules for the keys that are made with it", "its keys");
  const [word] = useState(newWord);
  const members = useLoad(async (signal) => (may("members.read") ? (await call<{ members: Member[] }>("GET", "/admin/members", { query: { limit: 1000 }, signal })).members : []), []);
  const submit = async (): Promise<boolean> => {
    setTried(true);
    const policy = rules.read();
    const expiresAt = timeToCome(end);
    if (policy === null || (life === "date" && expiresAt === null)) return false;
    const body = {
      name: name.trim(),
      role,
      ...(project && { project }),
      ...(member && { member }),
      ...(life === "date" ? { expires_at: expiresAt } : life && { ttl_seconds: Number(life) }),
      ...(words(networks).length > 0 && { networks: words(networks) }),
      ...policy,
    };
    const answer = await call<SecretAnswer>("POST", "/admin/tokens", { body, headers: once(word) });
    changed(["admin"]);
    onMade(answer);
    return true;
  };
  return (
    <FormDialog title="Create an admin token" action="Create" onClose={onClose} onSubmit={submit} wide>
      <div class="fields">
        <TextField label="Name" value={name} onInput={setName} required maxLength={256} autocomplete="off" placeholder="ci" hint="Who or what uses it." />
        <RoleSelect value={role} onChange={setRole} />
        <ProjectSelect value={project} onChange={setProject} everywhere="Everywhere" hint="One of a project sees and changes nothing else." />
        <Select label="Ends in" value={life} onChange={setLife} choices={LIVES} />
        {life === "date" && <TextField label="Ends" type="datetime-local" value={end} onInput={setEnd} hint="In your time zone." error={isTried && timeToCome(end) === null ? NO_TIME : null} />}
        {members.data !== null && members.data.length > 0 && (
          <Select
            label="Stands for"
            value={member}
            onChange={setMember}
            choices={[{ value: "", label: "Nobody in particular" }, ...members.data.map((one) => ({ value: one.id, label: one.login }))]}
            hint="It may then do no more than they may."
          />
        )}
      </div>
      <TextArea label="Networks" value={networks} onInput={setNetworks} hint="It can be used from these only, one on a line; from everywhere if empty" placeholder="10.0.0.0/8" />
      {rules.fields}
    </FormDialog>
  );
}

export function TokenDetail({ id }: { readonly id: string }) {
  const loaded = useLoad(async (signal) => (await call<Answer>("GET", at(id), { signal })).token, [id], ["admin"]);
  return <Show loaded={loaded}>{(token) => <Shown token={token} reload={loaded.reload} />}</Show>;
}

function Shown({ token, reload }: { readonly token: AdminToken; readonly reload: () => void }) {
  const [dialog, setDialog] = useState<"rules" | "edit" | "rotate" | null>(null);
  const [text, setText] = useState<string | null>(null);
  const who = self.value;
  const isMine = who !== null && may("tokens.write") && token.revokedAt === null && mayAdminister(who, token);
  const isOneself = who?.id === token.id;
  const close = () => setDialog(null);
  const revoke = () =>
    ask({
      title: `Revoke ${token.name}?`,
      text: (
        <>
          <p>Its next request is refused, and sessions that were opened with it end. {isOneself && <strong>You are signed in with it: your session ends too.</strong>}</p>
          <p>The keys that were made with it go on. This can't be undone.</p>
        </>
      ),
      action: "Revoke",
      run: () =>
        orReload(async () => {
          await call("DELETE", at(token.id), { headers: ifMatch(token.version) });
          changed(["admin"]);
          toast(`The token ${token.name} is revoked.`);
          reload();
        }),
    });
  return (
    <Detail
      back={{ to: "/admin/tokens", text: "All admin tokens" }}
      name={<Name text={token.name} />}
      actions={
        isMine && (
          <>
            <Button onClick={() => setDialog("edit")}>Change</Button>
            <Button onClick={() => setDialog("rotate")}>Rotate …</Button>
            {token.id !== OWNER && (
              <Button kind="danger" onClick={revoke}>
                Revoke …
              </Button>
            )}
          </>
        )
      }
    >
      {token.revokedAt !== null && (
        <p class="warning">
          This token was revoked <Time at={token.revokedAt} />.
        </p>
      )}
      <Panel title="About it">
        <dl class="facts">
          <dt>Id</dt>
          <dd>
            <code>{token.id}</code>
            {token.id === OWNER && <small> the token of the first start: it can be rotated, not revoked</small>}
          </dd>
          <dt>Role</dt>
          <dd>{token.role}</dd>
          <dt>Project</dt>
          <dd>{token.project === null ? "everywhere" : <Link to={`/admin/projects/${encodeURIComponent(token.project)}`}>{token.project}</Link>}</dd>
          {token.member !== null && (
            <>
              <dt>Stands for</dt>
              <dd>{may("members.read") ? <Link to={`/admin/members/${encodeURIComponent(token.member)}`}>{token.member}</Link> : token.member}</dd>
            </>
          )}
          <dt>Networks</dt>
          <dd>{token.networks === null ? "from everywhere" : token.networks.join(", ") || "from nowhere"}</dd>
          <dt>Ends</dt>
          <dd>{token.expiresAt === null ? "never" : <Time at={token.expiresAt} />}</dd>
          <dt>Last used</dt>
          <dd>
            <Ago at={token.lastUsedAt} />
          </dd>
          <dt>Keys</dt>
          <dd>
            <Link to={`/keys?created_by=${encodeURIComponent(token.member ?? token.id)}`}>Keys that were made with it</Link>
          </dd>
          <Version of={token} target={token.id} />
        </dl>
      </Panel>
      <Panel title="Rules for the keys that are made with it" actions={isMine && <Button onClick={() => setDialog("rules")}>Change rules</Button>}>
        <PolicyFacts policy={token.policy} none="None of its own; those of the project count." />
      </Panel>
      {dialog === "rules" && <RulesDialog of={token} at={at(token.id)} name={token.name} whose="its keys" onClose={close} onDone={reload} />}
      {dialog === "edit" && <EditDialog of={token} onClose={close} onDone={reload} />}
      {dialog === "rotate" && (
        <RotateDialog
          of={token}
          onClose={close}
          onDone={(made) => {
            setText(made);
            reload();
          }}
        />
      )}
      {text !== null && <TokenOnce title={`The new text of ${token.name}`} token={text} onClose={() => setText(null)} />}
    </Detail>
  );
}
