// A new key, this once, ready to be used.

import { useEffect, useState } from "preact/hooks";
import type { CreatedKey, Provider } from "../api/types";
import { Link } from "../router";
import { Button, Copy } from "../ui/button";
import { Segments } from "../ui/field";
import { Page, Panel } from "../ui/page";
import { Time } from "../ui/text";
import { KeyLink, keyPath } from "./key-link";
import { snippets } from "./snippets";

interface Props {
  readonly of: CreatedKey;
  readonly provider: Provider | null;
  readonly onAgain: () => void;
}

export function KeyCreated({ of, provider, onAgain }: Props) {
  const [isCopied, setCopied] = useState(false);
  const secret = of.scopedKey ?? of.claimUrl ?? "";
  useEffect(() => {
    if (isCopied) return undefined;
    // It is shown nowhere else: closing the page by mistake would lose it.
    const warn = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [isCopied]);
  return (
    <Page
      title="The key is made"
      actions={
        <>
          <Link to={keyPath(of.id)} class="button">
            Go to its page
          </Link>
          <Button onClick={onAgain}>Create another one</Button>
        </>
      }
    >
      <p class="warning" role="status">
        {of.scopedKey === undefined ? (
          <>
            This link shows the key once
            {of.claimExpiresAt !== undefined && (
              <>
                {", until "}
                <Time at={of.claimExpiresAt} />
              </>
            )}
            . It is shown here only: copy it now.
          </>
        ) : (
          "This is the only time that the key is shown. Copy it now: till does not keep it."
        )}
      </p>
      <Panel title={of.scopedKey === undefined ? "Link" : "Scoped key"}>
        <p class="secret" onCopy={() => setCopied(true)}>
          <code id="scoped-key" tabIndex={0}>
            {secret}
          </code>
          <span onClick={() => setCopied(true)}>
            <Copy text={secret} label={of.scopedKey === undefined ? "Copy the link" : "Copy the key"} />
          </span>
        </p>
        <p class="hint">
          <KeyLink of={of} />
        </p>
      </Panel>
      {of.scopedKey !== undefined && provider !== null && <Snippets of={of} scopedKey={of.scopedKey} provider={provider} />}
    </Page>
  );
}

function Snippets({ of, scopedKey, provider }: { readonly of: CreatedKey; readonly scopedKey: string; readonly provider: Provider }) {
  const model = of.scope.models?.find((one) => !one.includes("*")) ?? null;
  const all = snippets({ provider: provider.id, baseUrl: provider.sdkBaseUrl, keyEnv: provider.keyEnv, key: scopedKey, model });
  const [shown, setShown] = useState(all[0]?.id ?? "");
  const snippet = all.find((one) => one.id === shown) ?? all[0];
  if (snippet === undefined) return null;
  return (
    <Panel title="How to use it" actions={<Copy text={snippet.text} label={`Copy the text for ${snippet.title}`} />}>
      <Segments label="For" value={snippet.id} choices={all.map((one) => ({ value: one.id, label: one.title }))} onChange={setShown} />
      <pre class="spaced" tabIndex={0} aria-label={`For ${snippet.title}`}>
        <code>{snippet.text}</code>
      </pre>
    </Panel>
  );
}
