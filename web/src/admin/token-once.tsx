// The text of an admin token, the one time that it is shown.

import { useState } from "preact/hooks";
import { Button, Copy } from "../ui/button";
import { Dialog } from "../ui/dialog";

interface Props {
  readonly title: string;
  readonly token: string;
  readonly onClose: () => void;
}

export function TokenOnce({ title, token, onClose }: Props) {
  const [isAsking, setAsking] = useState(false);
  const address = location.origin;
  const snippets = [
    { label: "The command line, which asks for it", text: `till login ${address}` },
    { label: "The environment", text: `export TILL_URL=${address}\nexport TILL_ADMIN_KEY=${token}` },
    { label: "curl", text: `curl -H "Authorization: Bearer $TILL_ADMIN_KEY" ${address}/admin/self` },
  ];
  return (
    // Escape alone must not lose it.
    <Dialog title={title} onClose={() => setAsking(true)} wide>
      <p>
        <strong>It is shown this once.</strong> Put it into a secret store now; till keeps only a hash of it.
      </p>
      <div class="once">
        <code class="code">{token}</code>
        <Copy text={token} label="Copy the token" />
      </div>
      {snippets.map(({ label, text }) => (
        <div key={label}>
          <h3>{label}</h3>
          <div class="once">
            <pre tabIndex={0} aria-label={label}>
              {text}
            </pre>
            <Copy text={text} label={`Copy: ${label}`} />
          </div>
        </div>
      ))}
      {isAsking && (
        <p class="warning" role="alert">
          Once this is closed nobody can show it again. Is it stored?
        </p>
      )}
      <p class="actions">
        {isAsking && <Button onClick={() => setAsking(false)}>Not yet</Button>}
        <Button kind="main" onClick={onClose}>
          I have stored it
        </Button>
      </p>
    </Dialog>
  );
}
