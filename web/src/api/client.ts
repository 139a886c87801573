// The one place that talks to the server. Everything goes to the public admin API of the same origin; the session is a cookie
// that no script can read, and a change carries the word that signing in answered.

/** What went wrong, in the words of the API. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

const WORD = "till.session";

interface Word {
  readonly csrf: string;
  readonly subject: string;
  readonly expiresAt: string;
}

// It opens nothing without the cookie. All tabs of this origin share it, as they share the cookie.
export const word = {
  read(): Word | null {
    try {
      const found: unknown = JSON.parse(localStorage.getItem(WORD) ?? "null");
      return isWord(found) && Date.parse(found.expiresAt) > Date.now() ? found : null;
    } catch {
      return null;
    }
  },
  keep(kept: Word): void {
    localStorage.setItem(WORD, JSON.stringify(kept));
  },
  forget(): void {
    localStorage.removeItem(WORD);
  },
  /** Calls back when another tab signs in or out. */
  watch(changed: () => void): void {
    addEventListener("storage", (event) => {
      if (event.key === WORD || event.key === null) changed();
    });
  },
};

function isWord(value: unknown): value is Word {
  if (typeof value !== "object" || value === null) return false;
  const { csrf, subject, expiresAt } = value as Record<string, unknown>;
  return typeof csrf === "string" && typeof subject === "string" && typeof expiresAt === "string";
}

/** What to do when the server does not know the session any more. */
let onEnded: () => void = () => undefined;

export function whenSessionEnds(action: () => void): void {
  onEnded = action;
}

export type Query = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface Options {
  readonly query?: Query;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

export function url(path: string, query: Query = {}): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") pairs.set(name, String(value));
  }
  const text = pairs.toString();
  return text === "" ? path : `${path}?${text}`;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

async function send(method: Method, path: string, options: Options): Promise<Response> {
  const headers: Record<string, string> = { ...options.headers };
  if (options.body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && path !== "/admin/login") {
    const known = word.read();
    if (known === null) {
      onEnded();
      throw new ApiError(401, "unauthorized", "This browser is not signed in any more. Sign in and try again.");
    }
    headers["x-till-csrf"] = known.csrf;
  }
  const request: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store", redirect: "error" };
  if (options.body !== undefined) request.body = JSON.stringify(options.body);
  if (options.signal !== undefined) request.signal = options.signal;
  let answer: Response;
  try {
    answer = await fetch(url(path, options.query), request);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "unreachable", "The server can't be reached. It may be restarting; try again in a moment.");
  }
  if (answer.ok) return answer;
  const error = await errorOf(answer);
  // A wrong password ends nothing.
  if (error.status === 401 && error.code !== "login_failed") onEnded();
  throw error;
}

async function errorOf(answer: Response): Promise<ApiError> {
  const id = answer.headers.get("x-till-request-id");
  try {
    const body: unknown = await answer.json();
    const error = (body as { error?: { code?: unknown; message?: unknown } } | null)?.error;
    if (typeof error?.code === "string" && typeof error.message === "string") {
      return new ApiError(answer.status, error.code, error.message, id);
    }
  } catch {
    // Not from the API: something between answered.
  }
  return new ApiError(answer.status, "unknown", `The server answered ${answer.status} ${answer.statusText}`.trim(), id);
}

/** Calls the API; the type is what its document says about this answer. */
export async function call<T>(method: Method, path: string, options: Options = {}): Promise<T> {
  const answer = await send(method, path, options);
  if (answer.status === 204) return undefined as T;
  return (await answer.json()) as T;
}

/** As {@link call}, with the version for `If-Match`. */
export async function callVersioned<T>(method: Method, path: string, options: Options = {}): Promise<[T, string | null]> {
  const answer = await send(method, path, options);
  return [(await answer.json()) as T, answer.headers.get("etag")];
}

/** An answer that is a file, such as the export of the audit log. */
export async function callBlob(path: string, options: Options = {}): Promise<Blob> {
  return (await send("GET", path, options)).blob();
}

/** A path with its parts made safe: `path`/admin/keys/${id}``. */
export function path(texts: TemplateStringsArray, ...parts: readonly (string | number)[]): string {
  return texts.reduce((all, text, index) => all + encodeURIComponent(String(parts[index - 1] ?? "")) + text);
}
