// What every page shares: who is signed in, what they may use, where they are.
import {computed, signal} from "@preact/signals"
import {call, reason, signedOut} from "./api"
import type {Me, PluginPage, Route} from "./types"

export const me = signal<Me | undefined>(undefined)
export const routes = signal<Route[]>([])
export const pages = signal<PluginPage[]>([])
const admin = signal<Route[]>([])

/** offered is how a route of administration with this action may be used: not at all, with a reason, or freely. */
export function offered(action: string): "no" | "with a reason" | "yes" {
  const r = admin.value.find(r => r.action === action)
  return !r ? "no" : r.reasonRequired && !reason.value ? "with a reason" : "yes"
}
/** can tells whether a route of administration with this action may be used now. */
export const can = (action: string) => offered(action) === "yes"
export const plugins = computed(() => [...new Set(routes.value.map(r => r.plugin))])

export async function loadPerson(): Promise<void> {
  const who = await call<Me>("/auth/me")
  const mine = await call<{routes: Route[]; admin: Route[]; pages: PluginPage[]}>("/auth/routes")
  me.value = who
  routes.value = mine.routes
  admin.value = mine.admin
  if (JSON.stringify(pages.value) !== JSON.stringify(mine.pages)) pages.value = mine.pages
  signedOut.value = false
}

/** The parts of the address after "#/". */
export const place = signal<string[]>(read())

function read(): string[] {
  return location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent)
}
addEventListener("hashchange", () => { place.value = read() })

export const link = (...parts: string[]) => "#/" + parts.map(encodeURIComponent).join("/")
export const go = (...parts: string[]) => { location.hash = link(...parts) }
