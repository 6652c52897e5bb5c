import {useSignal} from "@preact/signals"
import {call, query} from "../api"
import {useLive} from "../live"
import {Button, Card, Digest, Field, Loaded, Problem, Table, Title, When} from "../parts/view"
import {can, me, routes} from "../state"
import type {Difference, Explanation, GrantLine, PolicyStatus} from "../types"
import {words} from "../words"

const w = words.policy

export default function Policy() {
  const status = useLive<PolicyStatus>("/api/admin/policies", 5000)
  return <>
    <Title>{w.title}</Title>
    <Card title={w.status}>
      <Loaded of={status}>{s => <>
        <Problem error={s.error} />
        <dl>
          <dt>{w.revision}</dt><dd>{s.revision} <When at={s.since} /></dd>
          <dt>{w.origin}</dt><dd>{s.origin}</dd>
          <dt>{w.digest}</dt><dd><Digest of={s.digest} /></dd>
          {Object.entries(s.log?.destinations ?? {}).map(([name, d]) => <>
            <dt key={name}>{w.log} ({name})</dt><dd>{d.written} {w.written}, {d.waiting} {w.waiting}, {d.dropped} {w.dropped}</dd></>)}
        </dl>
      </>}</Loaded>
      {can("admin:policies.diff") && <Shadow />}
    </Card>
    {can("admin:policies.explain.read") && <Card title={w.explain}><Explain /></Card>}
  </>
}

function Explain() {
  const fields = {
    user: useSignal(me.value!.user), action: useSignal("gitops:helm.read"), resource: useSignal(""), capability: useSignal(""), verb: useSignal(""), reason: useSignal(""),
  }
  const answer = useSignal<Explanation | undefined>(undefined)
  const ask = async () => {
    answer.value = undefined
    answer.value = await call("/api/admin/policies/explain" + query(Object.fromEntries(Object.entries(fields).map(([k, v]) => [k, v.value.trim()]))))
  }
  const labels: Record<string, string> = {user: w.user, action: w.action, resource: w.resource, capability: w.capability, verb: w.verb, reason: words.common.reason}
  return <form class="form" onSubmit={e => { e.preventDefault() }}>
    <div class="fields">{Object.entries(fields).map(([name, value]) => <Field key={name} label={labels[name]!}>
      <input value={value.value} list={name === "action" ? "actions" : undefined} onInput={e => { value.value = e.currentTarget.value }} /></Field>)}</div>
    <datalist id="actions">{[...new Set(routes.value.map(r => r.action))].map(a => <option key={a} value={a} />)}</datalist>
    <Button kind="main" run={ask}>{w.ask}</Button>
    {answer.value && <Answer of={answer.value} />}
  </form>
}

function Answer({of}: {of: Explanation}) {
  return <div class="answer" aria-live="polite">
    <p><strong data-allow={of.allow}>{of.allow ? w.allowed : w.denied}</strong> {of.question}</p>
    <p>{of.sentence} <code>{of.reason.code}</code></p>
    <Problem error={of.error} />
    {[...(of.refused ?? []), ...(of.warnings ?? [])].map(t => <p key={t} class="warning">{t}</p>)}
    <Lines title={w.granted} list={of.granted ?? []} />
    <Lines title={w.near} list={of.near ?? []} />
    {of.rules?.length > 0 && <><h3>{w.rules}</h3><ul class="list">{of.rules.map(r => <li key={r.at}>{r.text} <code>{r.at}</code></li>)}</ul></>}
  </div>
}

function Lines({title, list}: {title: string; list: GrantLine[]}) {
  if (list.length === 0) return null
  return <><h3>{title}</h3><ul class="list">{list.map(g => <li key={g.from + g.at + g.text}>{g.text} <small>{g.from}, <code>{g.at}</code></small>
    {g.misses && <><br /><small>{w.misses}: {g.misses.join("; ")}</small></>}</li>)}</ul></>
}

function Shadow() {
  const result = useSignal<{decisions: number; changed: number; changes: Difference[]} | undefined>(undefined)
  return <>
    <Button run={async () => { result.value = await call("/api/admin/policies/diff", {method: "POST"}) }}>{w.shadow}</Button>
    {result.value && <>
      <p>{w.differences(result.value.changed, result.value.decisions)}</p>
      <Table label={w.shadow} rows={result.value.changes ?? []} id={d => d.user + d.action + d.capability + d.what} columns={[
        {head: w.user, cell: d => d.user}, {head: w.action, cell: d => d.action}, {head: w.capability, cell: d => d.capability},
        {head: w.changed, cell: d => `${d.what}: ${d.old} → ${d.new}`}, {head: w.times, cell: d => d.count},
      ]} />
    </>}
  </>
}
