// What stands where there is nothing to show: loading, nothing there, something failed. Each says what to do.

import type { ComponentChildren } from "preact";
import type { ApiError } from "../api/client";
import type { Loaded } from "../load";
import { Button } from "./button";

export function Loading({ what = "Loading" }: { readonly what?: string }) {
  return (
    <p class="state" role="status">
      {what} …
    </p>
  );
}

export function Empty({ title, children }: { readonly title: string; readonly children?: ComponentChildren }) {
  return (
    <div class="state empty">
      <p>
        <strong>{title}</strong>
      </p>
      {children}
    </div>
  );
}

/** An error in the words of the API, with its code and the id to look it up in the log by. */
export function ErrorNote({ error, onRetry }: { readonly error: ApiError; readonly onRetry?: (() => void) | undefined }) {
  return (
    <div class="error-note" role="alert">
      <p>{error.message}</p>
      <p class="hint">
        <code>{error.code}</code>
        {error.requestId !== null && (
          <>
            {" · request "}
            <code>{error.requestId}</code>
          </>
        )}
      </p>
      {onRetry && <Button onClick={onRetry}>Try again</Button>}
    </div>
  );
}

/** Shows what was loaded; while something failed, what there was before stays below the error. */
export function Show<T>({ loaded, children }: { readonly loaded: Loaded<T>; readonly children: (data: T) => ComponentChildren }) {
  const { data, error, reload } = loaded;
  return (
    <>
      {error && <ErrorNote error={error} onRetry={reload} />}
      {data === null ? !error && <Loading /> : children(data)}
    </>
  );
}
