// The pages, in the order of the menu. A page is offered if one of its actions is.
import {computed} from "@preact/signals"
import type {ComponentType} from "preact"
import {offered, plugins, routes} from "./state"
import {words} from "./words"

export interface Section {
  id: string
  title: string
  /** The action of administration that the page begins with; absent if it needs none. */
  action?: string
  load: () => Promise<{default: ComponentType<{parts: string[]}>}>
}

export const isTerminal = (r: {kind: string; path: string}) => r.kind === "socket" && r.path === "/ws/exec"

const all: (Section & {shown?: () => boolean})[] = [
  {id: "home", title: words.pages.home, load: () => import("./pages/home")},
  {id: "features", title: words.pages.features, shown: () => plugins.value.length > 0, load: () => import("./pages/features")},
  {id: "terminal", title: words.pages.terminal, shown: () => routes.value.some(isTerminal), load: () => import("./pages/terminal")},
  {id: "sessions", title: words.pages.sessions, load: () => import("./pages/sessions")},
  {id: "plugins", title: words.pages.plugins, action: "admin:plugins.read", load: () => import("./pages/plugins")},
  {id: "policy", title: words.pages.policy, action: "admin:policies.read", load: () => import("./pages/policy")},
  {id: "directory", title: words.pages.directory, action: "admin:directory.read", load: () => import("./pages/directory")},
  {id: "audit", title: words.pages.audit, action: "admin:audit.read", load: () => import("./pages/audit")},
  {id: "settings", title: words.pages.settings, action: "admin:config.read", load: () => import("./pages/settings")},
]

/** The page of a plugin is not in the list; see Menu. */
export const pluginPage: Section = {id: "ui", title: words.ui.of, load: () => import("./pages/ui")}

export const sections = computed<Section[]>(() => all.filter(s => (!s.shown || s.shown()) && (!s.action || offered(s.action) !== "no")))
