// Role and project of somebody who administers: up to one's own, and in one's own project.

import { call } from "../api/client";
import type { Project, Role } from "../api/types";
import { useLoad } from "../load";
import { self } from "../session";
import { Select } from "../ui/field";
import { ROLES, rolesUpTo } from "./roles";

export function RoleSelect({ value, onChange }: { readonly value: Role; readonly onChange: (role: Role) => void }) {
  const allowed = rolesUpTo(self.value?.role ?? "viewer");
  return (
    <Select
      label="Role"
      value={value}
      choices={ROLES.filter((role) => allowed.includes(role.value)).map((role) => ({ value: role.value, label: role.value }))}
      onChange={(role) => onChange(role as Role)}
      hint={`${ROLES.find((role) => role.value === value)?.meaning ?? ""}`}
    />
  );
}

/** Nothing to choose for somebody who is bound to a project. */
export function ProjectSelect({ value, onChange, everywhere, hint }: { readonly value: string; readonly onChange: (project: string) => void; readonly everywhere: string; readonly hint?: string }) {
  const own = self.value?.project ?? null;
  const projects = useLoad(async (signal) => (own === null ? (await call<{ projects: Project[] }>("GET", "/admin/projects", { query: { limit: 1000 }, signal })).projects : []), [own]);
  if (own !== null) return <Select label="Project" value={own} choices={[{ value: own, label: own }]} onChange={() => undefined} hint="You are bound to this project, and so is what you make." />;
  return (
    <Select
      label="Project"
      value={value}
      choices={[{ value: "", label: everywhere }, ...(projects.data ?? []).map((project) => ({ value: project.id, label: project.id }))]}
      onChange={onChange}
      hint={hint}
    />
  );
}
