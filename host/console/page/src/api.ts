// One way to ask the host. Refusals become Refusal; a lost sign-in sets signedOut.
import {signal} from "@preact/signals"

export class Refusal extends Error {
  constructor(readonly status: number, message: string, readonly detail?: string, readonly requestId?: string, readonly answer?: unknown) {
    super(message)
  }
}

/** True from the first answer 401 until someone is signed in again. */
export const signedOut = signal(false)
/** Why the person needs what their role gives only with a reason. It goes with every request of administration until it is taken back. */
export const reason = signal("")
/** True while the host does not answer at all. */
export const offline = signal(false)

export interface Ask {
  method?: string
  json?: unknown
  body?: BodyInit
  /** The media type of body. */
  type?: string
  signal?: AbortSignal
}

let refreshing: Promise<unknown> | undefined

export async function send(path: string, ask: Ask = {}): Promise<Response> {
  const headers: Record<string, string> = {"X-Requested-With": "XMLHttpRequest"}
  let body = ask.body
  if (ask.type) headers["Content-Type"] = ask.type
  if (ask.json !== undefined) {
    headers["Content-Type"] = "application/json"
    body = JSON.stringify(ask.json)
  }
  if (reason.value && path.startsWith("/api/admin/")) path += (path.includes("?") ? "&" : "?") + "bulkhead-reason=" + encodeURIComponent(reason.value)
  let answer: Response
  try {
    answer = await fetch(path, {method: ask.method ?? "GET", headers, body, signal: ask.signal, redirect: "error"})
  } catch (error) {
    if (!ask.signal?.aborted) offline.value = true
    throw error
  }
  offline.value = false
  if (answer.status === 401) signedOut.value = true
  if (answer.headers.get("X-Token-Refresh") === "true") {
    refreshing ??= fetch("/auth/refresh", {method: "POST", headers: {"X-Requested-With": "XMLHttpRequest"}})
      .catch(() => undefined).finally(() => { refreshing = undefined })
  }
  return answer
}

export async function call<T>(path: string, ask: Ask = {}): Promise<T> {
  const answer = await send(path, ask)
  const text = await answer.text()
  let value: any
  try {
    value = text ? JSON.parse(text) : undefined
  } catch {
    throw new Refusal(answer.status, text.slice(0, 500))
  }
  if (!answer.ok) throw new Refusal(answer.status, value?.error ?? answer.statusText, value?.detail, value?.requestId, value)
  return value as T
}

/** query encodes what has a value. */
export function query(values: Record<string, string | undefined>): string {
  const q = new URLSearchParams()
  for (const [key, value] of Object.entries(values)) if (value) q.set(key, value)
  const text = q.toString()
  return text ? "?" + text : ""
}
