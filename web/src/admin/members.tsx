// Members: the people who administer.

import { useState } from "preact/hooks";
import { call, path } from "../api/client";
import type { WithCeilings } from "../api/admin-types";
import type { Member, Role } from "../api/types";
import { changed } from "../live";
import { useLoad } from "../load";
import { Link, navigate } from "../router";
import { may, self } from "../session";
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
import { useNewRules } from "./new-rules";
import { NewPassword, passwordError } from "./new-password";
import { CeilingBars, PolicyFacts } from "./policy-view";
import { ProjectSelect, RoleSelect } from "./role-fields";
import { mayAdminister } from "./roles";
import { RulesDialog } from "./rules-dialog";

type Answer = { readonly member: Member } & WithCeilings;

const at = (id: string): string => path`/admin/members/${id}`;
const page = (id: string): string => `/admin/members/${encodeURIComponent(id)}`;

const COLUMNS: readonly Column<Member>[] = [
  {
    id: "login",
    title: "Login",
    width: "minmax(10rem, 1.5fr)",
    cell: (member) => (
      <Link to={page(member.id)}>
        <Name text={member.login} max={80} />
      </Link>
    ),
  },
  { id: "name", title: "Name", width: "minmax(6rem, 1fr)", isMinor: true, cell: (member) => <Name text={member.name} max={80} /> },
  { id: "role", title: "Role", width: "minmax(5rem, 0.6fr)", cell: (member) => member.role },
  { id: "project", title: "Project", width: "minmax(6rem, 1fr)", cell: (member) => member.project ?? <span class="muted">everywhere</span> },
  {
    id: "state",
    title: "Signing in",
    width: "minmax(6rem, 0.7fr)",
    isMinor: true,
    cell: (member) => (member.removedAt !== null ? <Status status="ended" /> : <Status status={member.canSignIn ? "on" : "off"} />),
  },
  { id: "used", title: "Last active", width: "minmax(7rem, 0.8fr)", isMinor: true, cell: (member) => <Ago at={member.lastUsedAt} /> },
];

export function Members() {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <EntityTable<Member>
        title="Members"
        at="/admin/members"
        field="members"
        id={(member) => member.id}
        columns={COLUMNS}
        ended="Show removed ones"
        mayCreate="members.write"
        create={
          <Button kind="main" onClick={() => setOpen(true)}>
            Add a member
          </Button>
        }
        empty={
          <Empty title="There is no member yet.">
            <p>A member is a person who signs in with a password of their own. {may("members.write") ? "Add one, so that nobody needs the owner's token." : ""}</p>
          </Empty>
        }
      />
      {isOpen && <CreateDialog onClose={() => setOpen(false)} />}
    </>
  );
}

function CreateDialog({ onClose }: { readonly onClose: () => void }) {
  const [login, setLogin] = useState("");
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [project, setProject] = useState("");
  const [password, setPassword] = useState("");
  const [isTried, setTried] = useState(false);
  const rules = useNewRules("Rules for the keys that they make", "their keys");
  const [word] = useState(newWord);
  const submit = async (): Promise<boolean> => {
    setTried(true);
    const policy = rules.read();
    if (policy === null || (password !== "" && passwordError(password) !== null)) return false;
    const body = { login: login.trim(), role, ...(name.trim() && { name: name.trim() }), ...(project && { project }), ...(password && { password }), ...policy };
    const { member } = await call<Answer>("POST", "/admin/members", { body, headers: once(word) });
    changed(["admin"]);
    toast(password === "" ? `${member.login} is a member and can't sign in yet: they have no password.` : `${member.login} is a member. Give them their password.`);
    navigate(page(member.id));
    return true;
  };
  return (
    <FormDialog title="Add a member" action="Add" onClose={onClose} onSubmit={submit} wide>
      <div class="fields">
        <TextField label="Login" value={login} onInput={setLogin} required maxLength={254} autocomplete="off" spellcheck={false} placeholder="ada@example.com" hint="What they sign in with. It can't be changed." />
        <TextField label="Name" value={name} onInput={setName} maxLength={256} autocomplete="off" placeholder="Ada" />
        <RoleSelect value={role} onChange={setRole} />
        <ProjectSelect value={project} onChange={setProject} everywhere="Everywhere" hint="Who is bound to a project sees and changes what belongs to it, and nothing else." />
      </div>
      <NewPassword label="First password" value={password} onInput={setPassword} error={isTried && password !== "" ? passwordError(password) : null} hint="Without one they can't sign in. They can change it themselves." />
      {rules.fields}
    </FormDialog>
  );
}

export function MemberDetail({ id }: { readonly id: string }) {
  const loaded = useLoad((signal) => call<Answer>("GET", at(id), { signal }), [id], ["admin", "usage"], 3000);
  return <Show loaded={loaded}>{(answer) => <Shown answer={answer} reload={loaded.reload} />}</Show>;
}

function Shown({ answer, reload }: { readonly answer: Answer; readonly reload: () => void }) {
  const { member, ceilingsUsed } = answer;
  const [dialog, setDialog] = useState<"rules" | "edit" | "password" | null>(null);
  const who = self.value;
  const isMine = who !== null && may("members.write") && member.removedAt === null && mayAdminister(who, member);
  const isOneself = who?.id === member.id;
  const close = () => setDialog(null);
  const remove = () =>
    ask({
      title: `Remove ${member.login}?`,
      text: (
        <>
          <p>Their sessions end, and they and the admin tokens that stand for them may do nothing any more, from the next request on.</p>
          <p>The keys that they made go on. This can't be undone.</p>
        </>
      ),
      action: "Remove",
      run: () =>
        orReload(async () => {
          await call("DELETE", at(member.id), { headers: ifMatch(member.version) });
          changed(["admin"]);
          toast(`${member.login} is removed.`);
          reload();
        }),
    });
  const shut = () =>
    ask({
      title: `Take the password of ${member.login} away?`,
      text: <p>Their sessions end, and they can't sign in until somebody gives them a new password. Admin tokens that stand for them go on.</p>,
      action: "Take it away",
      run: () =>
        orReload(async () => {
          await call("PATCH", at(member.id), { body: { password: null }, headers: ifMatch(member.version) });
          changed(["admin"]);
          toast(`${member.login} can't sign in any more.`);
          reload();
        }),
    });
  return (
    <Detail
      back={{ to: "/admin/members", text: "All members" }}
      name={<Name text={member.login} />}
      actions={
        isMine && (
          <>
            <Button onClick={() => setDialog("edit")}>Change name or role</Button>
            <Button onClick={() => setDialog("password")}>Set a password</Button>
            {member.canSignIn && !isOneself && <Button onClick={shut}>Take password away …</Button>}
            {!isOneself && (
              <Button kind="danger" onClick={remove}>
                Remove …
              </Button>
            )}
          </>
        )
      }
    >
      {member.removedAt !== null && (
        <p class="warning">
          This member was removed <Time at={member.removedAt} />.
        </p>
      )}
      <Panel title="About them">
        <dl class="facts">
          <dt>Id</dt>
          <dd>
            <code>{member.id}</code>
          </dd>
          {member.name !== "" && (
            <>
              <dt>Name</dt>
              <dd>
                <Name text={member.name} />
              </dd>
            </>
          )}
          <dt>Role</dt>
          <dd>{member.role}</dd>
          <dt>Project</dt>
          <dd>{member.project === null ? "everywhere" : <Link to={`/admin/projects/${encodeURIComponent(member.project)}`}>{member.project}</Link>}</dd>
          <dt>Signing in</dt>
          <dd>{member.canSignIn ? "with a password" : "not possible: no password"}</dd>
          <dt>Last active</dt>
          <dd>
            <Ago at={member.lastUsedAt} />
          </dd>
          <dt>Keys</dt>
          <dd>
            <Link to={`/keys?created_by=${encodeURIComponent(member.id)}`}>Keys that they made</Link>
          </dd>
          <Version of={member} target={member.id} />
        </dl>
      </Panel>
      <Panel title="Rules for the keys that they make" actions={isMine && <Button onClick={() => setDialog("rules")}>Change rules</Button>}>
        {ceilingsUsed.length > 0 && (
          <div class="wide-bars">
            <CeilingBars policy={member.policy} used={ceilingsUsed} />
          </div>
        )}
        <PolicyFacts policy={member.policy} none="None of their own; those of the project count." />
      </Panel>
      {dialog === "rules" && <RulesDialog of={member} at={at(member.id)} name={member.login} whose="their keys" onClose={close} onDone={reload} />}
      {dialog === "edit" && <EditDialog of={member} onClose={close} onDone={reload} />}
      {dialog === "password" && <PasswordDialog of={member} onClose={close} onDone={reload} />}
    </Detail>
  );
}

interface DialogProps {
  readonly of: Member;
  readonly onClose: () => void;
  readonly onDone: () => void;
}

function EditDialog({ of, onClose, onDone }: DialogProps) {
  const [name, setName] = useState(of.name);
  const [role, setRole] = useState(of.role);
  const submit = async () => {
    const body = { ...(name.trim() !== of.name && { name: name.trim() }), ...(role !== of.role && { role }) };
    if (Object.keys(body).length > 0) await call("PATCH", at(of.id), { body, headers: ifMatch(of.version) });
    changed(["admin"]);
    onDone();
  };
  return (
    <FormDialog title={`Change ${of.login}`} action="Save" onClose={onClose} onSubmit={submit}>
      <TextField label="Name" value={name} onInput={setName} maxLength={256} autocomplete="off" />
      <RoleSelect value={role} onChange={setRole} />
      <p class="hint">A new role counts from their next request on.</p>
    </FormDialog>
  );
}

function PasswordDialog({ of, onClose, onDone }: DialogProps) {
  const [password, setPassword] = useState("");
  const [error, setError] = useState<string | null>(null);
  const submit = async (): Promise<boolean> => {
    const found = passwordError(password);
    setError(found);
    if (found !== null) return false;
    await call("PATCH", at(of.id), { body: { password }, headers: ifMatch(of.version) });
    changed(["admin"]);
    toast(`${of.login} has a new password; their sessions have ended.`);
    onDone();
    return true;
  };
  return (
    <FormDialog title={`A new password for ${of.login}`} action="Set it" onClose={onClose} onSubmit={submit}>
      <NewPassword label="New password" value={password} onInput={setPassword} error={error} hint="Their sessions end. Give it to them; nobody can look it up." />
    </FormDialog>
  );
}
