// Small parts of which the pages consist.
import type {ComponentChildren, JSX} from "preact"
import {useSignal} from "@preact/signals"
import {Refusal} from "../api"
import {words} from "../words"

export function Title({children, actions}: {children: ComponentChildren; actions?: ComponentChildren}) {
  return <header class="title"><h1 tabIndex={-1}>{children}</h1><div class="actions">{actions}</div></header>
}

export function Card({title, children, id}: {title?: ComponentChildren; children: ComponentChildren; id?: string}) {
  return <section class="card" id={id}>{title && <h2>{title}</h2>}{children}</section>
}

export function Problem({error}: {error?: unknown}) {
  if (!error) return null
  const refusal = error instanceof Refusal ? error : undefined
  return <div class="problem" role="alert">
    <p>{error instanceof Error ? error.message : String(error)}</p>
    {refusal?.detail && <p><code>{refusal.detail}</code></p>}
    {refusal?.requestId && <p><small>{words.common.requestId} {refusal.requestId}</small></p>}
  </div>
}

/** Loaded shows what has been loaded, or why not. The last good data stays in sight. */
export function Loaded<T>({of, children}: {of: {value?: T; error?: Error}; children: (value: T) => ComponentChildren}) {
  return <>
    <Problem error={of.error} />
    {of.value !== undefined ? children(of.value) : !of.error && <p class="quiet" aria-busy="true">{words.common.loading}</p>}
  </>
}

export interface Column<T> { head: string; cell: (row: T) => ComponentChildren; text?: (row: T) => string }

/** Table has a filter if it has many rows. */
export function Table<T>({rows, columns, id, none, label}: {
  rows: T[]; columns: Column<T>[]; id: (row: T) => string; none?: string; label: string
}) {
  const filter = useSignal("")
  if (rows.length === 0) return <p class="quiet">{none ?? words.common.none}</p>
  const wanted = filter.value.toLowerCase()
  const shown = wanted === "" ? rows
    : rows.filter(row => columns.some(c => (c.text?.(row) ?? String(c.cell(row) ?? "")).toLowerCase().includes(wanted)))
  return <>
    {rows.length > 8 && <input type="search" class="filter" aria-label={`${label}: ${words.common.search}`} placeholder={words.common.search}
      value={filter.value} onInput={e => { filter.value = e.currentTarget.value }} />}
    <div class="scroll" tabIndex={0} role="region" aria-label={label}>
      <table>
        <thead><tr>{columns.map(c => <th scope="col" key={c.head}>{c.head || <span class="unseen">{words.common.more}</span>}</th>)}</tr></thead>
        <tbody>{shown.map(row => <tr key={id(row)}>{columns.map(c => <td key={c.head} data-head={c.head}>{c.cell(row)}</td>)}</tr>)}</tbody>
      </table>
    </div>
  </>
}

/** Button runs an action once at a time and shows its error beside it. */
export function Button({run, children, kind, disabled, label}: {
  run: () => unknown; children: ComponentChildren; kind?: "danger" | "quiet" | "main"; disabled?: boolean; label?: string
}) {
  const busy = useSignal(false)
  const error = useSignal<unknown>(undefined)
  const click = async () => {
    busy.value = true
    error.value = undefined
    try {
      await run()
    } catch (e) {
      error.value = e
    } finally {
      busy.value = false
    }
  }
  return <>
    <button type="button" class={kind} disabled={disabled || busy.value} aria-busy={busy.value} aria-label={label} onClick={click}>{children}</button>
    <Problem error={error.value} />
  </>
}

export function Field({label, hint, children}: {label: string; hint?: string; children: JSX.Element}) {
  return <label class="field"><span>{label}</span>{children}{hint && <small>{hint}</small>}</label>
}

export function State({of}: {of: string}) {
  return <span class="state" data-state={of}>{of}</span>
}

export function When({at}: {at?: string}) {
  if (!at) return null
  const t = new Date(at)
  return <time dateTime={at} title={t.toISOString()}>{ago(t)}</time>
}

const relative = new Intl.RelativeTimeFormat("en", {numeric: "auto", style: "short"})

function ago(t: Date): string {
  const s = (t.getTime() - Date.now()) / 1000
  const size = Math.abs(s)
  if (size < 90) return relative.format(Math.round(s), "second")
  if (size < 5400) return relative.format(Math.round(s / 60), "minute")
  if (size < 129600) return relative.format(Math.round(s / 3600), "hour")
  return relative.format(Math.round(s / 86400), "day")
}

export function Digest({of}: {of?: string}) {
  return of ? <code title={of}>{of.replace(/^sha256:/, "").slice(0, 12)}</code> : null
}
