// The routes of plugins, each as a form: what a plugin offers is usable before it brings a page of its own.
import {useSignal} from "@preact/signals"
import {useEffect, useRef} from "preact/hooks"
import {Refusal, send} from "../api"
import {confirm} from "../parts/dialog"
import {Value} from "../parts/value"
import {Button, Card, Field, Title} from "../parts/view"
import {link, plugins, routes} from "../state"
import type {Route} from "../types"
import {words} from "../words"

const w = words.features

export default function Features({parts}: {parts: string[]}) {
  const [plugin, name] = parts
  const mine = routes.value.filter(r => !plugin || r.plugin === plugin)
  const route = mine.find(r => r.name === name)
  return <>
    <Title actions={plugin && <a href={link("features")}>{w.title}</a>}>{[plugin ?? w.title, name].filter(Boolean).join(" ")}</Title>
    {route ? <Form key={route.plugin + route.name} route={route} /> : <>
      <p class="quiet">{w.intro}</p>
      {(plugin ? [plugin] : plugins.value).map(p => <Card key={p} title={plugin ? undefined : <a href={link("features", p)}>{p}</a>}>
        <ul class="list">{mine.filter(r => r.plugin === p).map(r => <li key={r.name}>
          <a href={link("features", p, r.name)}>{r.name}</a> <small>{r.method} · {r.mutates ? w.changes : w.reads}</small></li>)}</ul>
      </Card>)}
    </>}
  </>
}

/** inPath and inQuery are the parameters of a route by the place where they go. */
const inPath = (r: Route) => [...r.path.matchAll(/\{([^}:]+)(?::[^}]*)?\}/g)].map(m => m[1]!)
const inQuery = (r: Route) => Object.values(r.resource ?? {}).filter(v => v.startsWith("query:")).map(v => v.slice(6))

function Form({route}: {route: Route}) {
  const values = useSignal<Record<string, string>>({})
  const further = useSignal("")
  const body = useSignal("{}")
  const answer = useSignal<{status: number; ms: number; value?: unknown; text?: string} | undefined>(undefined)
  const events = useSignal<string[]>([])
  const source = useRef<EventSource | undefined>(undefined)
  useEffect(() => () => source.current?.close(), [])
  if (route.kind === "socket") return <p class="quiet">{w.sockets}</p>
  const set = (name: string, value: string) => { values.value = {...values.value, [name]: value} }
  const url = (reason = "") => {
    const q = new URLSearchParams(further.value)
    for (const name of inQuery(route)) if (values.value[name]) q.set(name, values.value[name]!)
    if (reason) q.set("bulkhead-reason", reason)
    const path = route.path.replace(/\{([^}:]+)(?::[^}]*)?\}/g, (_, name) => encodeURIComponent(values.value[name] ?? ""))
    return path + (q.size ? "?" + q : "")
  }
  const run = async (reason = "") => {
    answer.value = undefined
    if (route.kind === "events") return listen(reason)
    const began = performance.now()
    const sent = await send(url(reason), {method: route.method, ...(hasBody ? {json: JSON.parse(body.value)} : {})})
    const text = await sent.text()
    let value: unknown
    try { value = JSON.parse(text) } catch { value = undefined }
    if (!sent.ok) {
      const v = value as {error?: string; detail?: string; requestId?: string} | undefined
      throw new Refusal(sent.status, v?.error ?? text.slice(0, 300), v?.detail, v?.requestId)
    }
    answer.value = {status: sent.status, ms: Math.round(performance.now() - began), value, text}
  }
  const listen = (reason: string) => {
    source.current?.close()
    events.value = []
    const s = source.current = new EventSource(url(reason))
    const note = (e: MessageEvent) => { events.value = [...events.value.slice(-199), `${e.type}: ${e.data}`] }
    for (const kind of ["message", "end", "done", "cluster_data", "cluster_error", "cluster_skipped", "log", "progress"]) s.addEventListener(kind, note)
    s.addEventListener("end", () => s.close())
  }
  const hasBody = route.mutates && !["GET", "DELETE"].includes(route.method)
  const start = () => route.mutates || route.reasonRequired
    ? confirm({title: route.mutates ? w.confirm : `${route.plugin} ${route.name}`, text: <p><code>{route.method} {url()}</code></p>, reason: route.reasonRequired, run})
    : run()
  return <>
    <Card title={w.params}>
      <form class="form" onSubmit={e => e.preventDefault()}>
        <p><code>{route.method} {route.path}</code> <small>{route.action}</small></p>
        <div class="fields">{[...inPath(route), ...inQuery(route)].map(name => <Field key={name} label={name}>
          <input value={values.value[name] ?? ""} onInput={e => set(name, e.currentTarget.value)} /></Field>)}</div>
        <Field label={w.query}><input value={further.value} onInput={e => { further.value = e.currentTarget.value }} /></Field>
        {hasBody && <Field label={w.body}><textarea rows={6} spellcheck={false} value={body.value} onInput={e => { body.value = e.currentTarget.value }} /></Field>}
        <div class="actions"><Button kind="main" run={start}>{w.send}</Button></div>
      </form>
    </Card>
    {answer.value && <Card title={<>{w.answer} <small>{answer.value.status} · {w.took(answer.value.ms)}</small></>}>
      {answer.value.value !== undefined ? <Value of={answer.value.value} label={w.answer} /> : <pre tabIndex={0}>{answer.value.text}</pre>}
    </Card>}
    {events.value.length > 0 && <Card title={w.events}><pre tabIndex={0} aria-live="polite">{events.value.join("\n")}</pre></Card>}
  </>
}
