// What had an effect, by the audit of the replica that answers.
import {useSignal} from "@preact/signals"
import {useEffect} from "preact/hooks"
import {call, query} from "../api"
import {Button, Card, Field, Problem, State, Table, Title} from "../parts/view"
import {can} from "../state"
import type {AuditRecord, AuditReport} from "../types"
import {words} from "../words"

const w = words.audit
const filters = {user: w.user, action: w.action, target: w.target, kind: w.kind, request: w.request, since: w.since} as const

export default function Audit({parts}: {parts: string[]}) {
  const values = useSignal<Record<string, string>>(parts[0] ? {id: parts[0]} : {since: "24h"})
  const records = useSignal<AuditRecord[] | undefined>(undefined)
  const next = useSignal<number | undefined>(undefined)
  const chosen = useSignal<AuditRecord | undefined>(undefined)
  const error = useSignal<unknown>(undefined)
  const load = async (more = false) => {
    error.value = undefined
    try {
      const got = await call<{records: AuditRecord[]; next?: number}>("/api/admin/audit" +
        query({...values.value, limit: "100", cursor: more ? String(next.value) : undefined}))
      records.value = more ? [...records.value ?? [], ...got.records] : got.records
      next.value = got.next
    } catch (e) {
      error.value = e
    }
  }
  useEffect(() => { void load() }, [])
  const about = (id: string) => {
    values.value = {id}
    chosen.value = undefined
    void load()
  }
  return <>
    <Title>{w.title}</Title>
    <Card>
      <form class="form" onSubmit={e => { e.preventDefault(); void load() }}>
        <div class="fields">{Object.entries(filters).map(([name, label]) => <Field key={name} label={label}>
          <input value={values.value[name] ?? ""} onInput={e => { values.value = {...values.value, [name]: e.currentTarget.value.trim()} }} /></Field>)}</div>
        <div class="actions">
          <button class="main">{w.show}</button>
          {values.value.id && <Button run={() => { values.value = {since: "24h"}; void load() }}>{w.all}</Button>}
        </div>
      </form>
      {can("admin:audit.verify.read") && <Verify />}
    </Card>
    {chosen.value && <One of={chosen.value} about={about} close={() => { chosen.value = undefined }} />}
    <Card title={w.replica}>
      <Problem error={error.value} />
      {records.value && <Table label={w.title} rows={records.value} id={r => String(r.seq)} columns={[
        {head: w.time, cell: r => <time dateTime={r.time}>{new Date(r.time).toLocaleString()}</time>, text: r => r.time},
        {head: w.user, cell: r => r.user},
        {head: w.what, cell: r => <>{r.action ?? r.kind} <small>{r.stage}</small></>, text: r => `${r.action} ${r.kind} ${r.stage}`},
        {head: w.target, cell: r => r.target},
        {head: w.outcome, cell: r => r.outcome && <State of={r.outcome} />, text: r => r.outcome ?? ""},
        {head: "", cell: r => <button type="button" aria-label={`${w.record} ${r.seq}`} onClick={() => { chosen.value = r }}>{w.record}</button>},
      ]} />}
      {next.value ? <Button run={() => load(true)}>{w.older}</Button> : null}
    </Card>
  </>
}

function One({of, about, close}: {of: AuditRecord; about: (id: string) => void; close: () => void}) {
  return <Card title={<>{w.record} {of.seq}</>}>
    <pre tabIndex={0}>{JSON.stringify(of, null, 2)}</pre>
    <p class="quiet">{w.joined}</p>
    <div class="actions">
      {of.id && <Button run={() => about(of.id!)}>{w.one}</Button>}
      <Button kind="quiet" run={close}>{words.common.close}</Button>
    </div>
  </Card>
}

function Verify() {
  const report = useSignal<AuditReport | undefined>(undefined)
  return <>
    <Button run={async () => { report.value = await call("/api/admin/audit/verify") }}>{w.verify}</Button>
    {report.value && <div role="status">{report.value.problems?.length
      ? <><p class="warning">{w.unsound}</p><ul>{report.value.problems.map(p => <li key={p.text}>{p.file} {p.line} {p.text}</li>)}</ul></>
      : <p>{w.sound(report.value.records)}</p>}</div>}
  </>
}
