// The console's end of the bridge to a plugin's page (sdk/ui). The page is not trusted:
// every message is checked, counted and bounded, and a page reaches its plugin's routes
// that its manifest names, as far as the person may use them, and nothing else.
import {Refusal, send} from "./api"
import {asking, confirm} from "./parts/dialog"
import {go, link, pages, routes} from "./state"
import type {Route} from "./types"
import {prefill} from "./prefill"
import {words} from "./words"

const most = {calls: 32, streams: 8, body: 1 << 20, answer: 16 << 20, text: 80, path: 10, part: 200, perSecond: 200}

const isText = (v: unknown, length: number): v is string => typeof v === "string" && v.length <= length

/** connect serves the page in frame until close is called. */
export function connect(frame: HTMLIFrameElement, plugin: string, path: string[], title: (text: string) => void) {
  const page = pages.value.find(p => p.plugin === plugin)!
  const dark = matchMedia("(prefers-color-scheme: dark)")
  const theme = () => dark.matches ? "dark" : "light"
  const stop = new AbortController()
  const streams = new Map<number, EventSource>()
  let port: MessagePort | undefined
  let calls = 0
  let budget = most.perSecond
  const refill = setInterval(() => { budget = most.perSecond }, 1000)
  const mine = () => routes.value.filter(r => r.plugin === plugin && r.kind !== "socket" && page.routes.includes(r.name))
  const tell = (message: object, moved: Transferable[] = []) => port?.postMessage(message, moved)

  // The frame's first message asks for the port. It is given once: what the frame shows
  // later, if it manages to show something else, gets none.
  const ready = (e: MessageEvent) => {
    if (e.source !== frame.contentWindow || e.data?.bulkhead !== 1 || port) return
    const channel = new MessageChannel()
    port = channel.port1
    port.onmessage = heard
    frame.contentWindow!.postMessage({
      bulkhead: 1, plugin, path, theme: theme(),
      routes: mine().map(({name, kind, method, mutates, reasonRequired}) => ({name, kind, method, mutates, reasonRequired})),
    }, "*", [channel.port2])
  }
  addEventListener("message", ready)
  const themed = () => tell({kind: "theme", theme: theme()})
  dark.addEventListener("change", themed)

  const heard = ({data}: MessageEvent) => {
    if (typeof data !== "object" || data === null || --budget < 0) return
    switch (data.kind) {
      case "call": return void call(data)
      case "events": return void open(data)
      case "stop": return close(data.id)
      case "title": return isText(data.text, most.text) ? title(data.text) : undefined
      case "navigate": return isPath(data.path) ? go("ui", plugin, ...data.path) : undefined
      case "terminal": return terminal(data.target)
    }
  }

  const isPath = (v: unknown): v is string[] => Array.isArray(v) && v.length <= most.path && v.every(p => isText(p, most.part) && p !== "")

  /** url returns the address of a request, or what is wrong with it. */
  const url = (route: Route, data: any): string => {
    const params = data.params ?? {}
    const path = route.path.replace(/\{([^}:]+)(?::[^}]*)?\}/g, (_, name) => {
      if (!isText(params[name], 2048) || params[name] === "") throw new Refusal(400, `the parameter ${name} is missing`)
      if (params[name] === "." || params[name] === "..") throw new Refusal(400, `the parameter ${name} leads to another path`) // fetch would resolve it
      return encodeURIComponent(params[name])
    })
    const q = new URLSearchParams()
    for (const [key, value] of Object.entries(data.query ?? {}).slice(0, 100)) {
      if (key === "bulkhead-reason") continue // the person states it, not the page
      for (const v of Array.isArray(value) ? value.slice(0, 100) : [value]) if (v !== undefined && v !== null && v !== "") q.append(key, String(v).slice(0, 4096))
    }
    const reason = reasons.get(route.name)
    if (reason) q.set("bulkhead-reason", reason)
    return path + (q.size ? "?" + q : "")
  }

  const find = (data: any, kind: string): Route => {
    const route = mine().find(r => r.name === data.route && r.kind === kind)
    if (!route) throw new Refusal(403, "the page may not use this route, or there is none")
    return route
  }

  /** reason has the person state why, once for a route that needs it while the page is shown. */
  const reasons = new Map<string, string>()
  const reason = (route: Route) => new Promise<void>((yes, no) => {
    if (!route.reasonRequired || reasons.has(route.name)) return yes()
    const none = () => no(new Refusal(403, "no reason was stated", "reason_required"))
    if (asking()) return none()
    confirm({title: words.ui.reason(page.title), text: route.name, reason: true, cancel: none, run: text => {
      reasons.set(route.name, text)
      yes()
    }})
  })

  const refused = (e: unknown) => e instanceof Refusal
    ? {status: e.status, error: e.message, detail: e.detail, requestId: e.requestId}
    : {status: 0, error: (e as Error).message}

  const call = async (data: any) => {
    if (!Number.isSafeInteger(data.id)) return
    if (calls >= most.calls) return tell({kind: "answer", id: data.id, ok: false, ...refused(new Refusal(429, "the page makes too many calls at a time"))})
    calls++
    try {
      const route = find(data, "unary")
      await reason(route)
      const hasBody = !["GET", "DELETE"].includes(route.method)
      const text = hasBody ? JSON.stringify(data.body ?? {}) : undefined
      if (text !== undefined && text.length > most.body) throw new Refusal(413, "the page sends too much")
      const answer = await send(url(route, data), {method: route.method, signal: stop.signal, ...(hasBody ? {body: text, type: "application/json"} : {})})
      const got = await answer.text()
      if (got.length > most.answer) throw new Refusal(502, "the answer is too large for a page")
      let body: any = got
      try { body = got === "" ? null : JSON.parse(got) } catch { /* text stays text */ }
      if (answer.ok) tell({kind: "answer", id: data.id, ok: true, status: answer.status, body})
      else throw new Refusal(answer.status, body?.error ?? answer.statusText, body?.detail, body?.requestId)
    } catch (e) {
      tell({kind: "answer", id: data.id, ok: false, ...refused(e)})
    } finally {
      calls--
    }
  }

  const open = async (data: any) => {
    if (!Number.isSafeInteger(data.id) || streams.has(data.id)) return
    const end = (problem?: object) => {
      close(data.id)
      tell({kind: "end", id: data.id, problem})
    }
    try {
      if (streams.size >= most.streams) throw new Refusal(429, "the page opens too many streams")
      const route = find(data, "events")
      await reason(route)
      if (stop.signal.aborted || streams.has(data.id)) return
      const source = new EventSource(url(route, data))
      streams.set(data.id, source)
      const pass = (e: MessageEvent) => tell({kind: "event", id: data.id, event: e.type, data: e.data, last: e.lastEventId})
      for (const name of new Set(["message", ...names(data.names)])) source.addEventListener(name, pass)
      source.addEventListener("end", e => {
        const {code, reason} = JSON.parse((e as MessageEvent).data)
        end(code === 1000 ? undefined : {status: code, error: reason})
      })
      source.onerror = () => { if (source.readyState === EventSource.CLOSED) end({status: 0, error: words.common.failed}) }
    } catch (e) {
      end(refused(e))
    }
  }
  const names = (v: unknown): string[] => Array.isArray(v) ? v.filter((n): n is string => isText(n, 64)).slice(0, 32) : []
  const close = (id: number) => {
    streams.get(id)?.close()
    streams.delete(id)
  }

  /** terminal asks the person, who sees which container it is about. */
  const terminal = (target: any) => {
    const parts = [target?.cluster, target?.namespace, target?.pod, target?.container ?? ""]
    if (asking() || !parts.every(p => isText(p, 253) && !p.includes("/")) || parts.slice(0, 3).includes("")) return
    confirm({
      title: words.ui.terminal, text: parts.filter(Boolean).join("/"),
      run: () => {
        prefill.value = {cluster: parts[0], namespace: parts[1], pod: parts[2], container: parts[3]}
        location.hash = link("terminal")
      },
    })
  }

  return {
    navigate: (path: string[]) => tell({kind: "navigate", path}),
    close: () => {
      stop.abort()
      clearInterval(refill)
      for (const source of streams.values()) source.close()
      removeEventListener("message", ready)
      dark.removeEventListener("change", themed)
      port?.close()
    },
  }
}
