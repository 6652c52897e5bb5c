/** An answer that is not a success: of the host, of policy, or of the plugin. */
export class Refusal extends Error {
  readonly status: number
  /** More about it; a code if policy refused, such as "reason_required". */
  readonly detail?: string
  readonly requestId?: string
}

export interface Route {
  name: string
  kind: "unary" | "events"
  method: string
  mutates: boolean
  /** The console asks the person for a reason at the first call. */
  reasonRequired?: boolean
}

export interface Ask {
  /** Values of the {parameters} of the route's path. */
  params?: Record<string, string>
  query?: Record<string, string | string[] | undefined>
}

export const bulkhead: {
  /** The name under which the operator runs the plugin. */
  readonly plugin: string
  /** The routes of the page's manifest that the person may use. */
  readonly routes: readonly Route[]
  readonly theme: "light" | "dark"
  /** What the address has behind the page's own: ["releases", "shop", "web"]. */
  readonly path: readonly string[]
  can(route: string): boolean
  /** Calls a unary route as the person. The body is sent as JSON; at most 1 MiB, 32 calls at a time. Throws a Refusal. */
  call(route: string, ask?: Ask & {body?: unknown}): Promise<{status: number; body: any}>
  /** Opens an event stream; names are those of its events that are not "message", at most 32. Returns how to stop it; end is called once if it ends by itself. At most 8 at a time. */
  events(route: string, ask: Ask & {names?: string[]} | undefined, event: (e: {event: string; data: string; id: string}) => void, end?: (problem?: Refusal) => void): () => void
  /** Changes the address; the page hears of it by onNavigate, as of the person's own. */
  navigate(...path: string[]): void
  onNavigate(listener: (path: readonly string[]) => void): () => void
  onTheme(listener: (theme: "light" | "dark") => void): () => void
  /** The title of the browser's tab, at most 80 characters. */
  title(text: string): void
  /** Asks the console for a terminal. The person sees the target and opens it. */
  openTerminal(target: {cluster: string; namespace: string; pod: string; container?: string}): void
}
