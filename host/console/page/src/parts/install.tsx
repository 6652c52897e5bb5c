// Installing a plugin: what it is, what it may do more, then consent, then wait until it is active everywhere.
import {useSignal} from "@preact/signals"
import {call, Refusal} from "../api"
import {go} from "../state"
import type {Plugin, Report} from "../types"
import {words} from "../words"
import {Compared} from "./compared"
import {Button, Field} from "./view"

const w = words.plugins

export function Install({name: given, revision}: {name?: string; revision?: number}) {
  const name = useSignal(given ?? "")
  const reference = useSignal("")
  const file = useSignal<File | undefined>(undefined)
  const grants = useSignal("{}")
  const keep = useSignal(given !== undefined)
  const percent = useSignal("100")
  const consent = useSignal(false)
  const report = useSignal<Report | undefined>(undefined)
  const told = useSignal("")
  const path = () => "/api/admin/plugins/" + encodeURIComponent(name.value)

  const body = async () => {
    const request: Record<string, unknown> = {revision: revision ?? 0}
    if (file.value) {
      const upload = await call<{digest: string}>("/api/admin/uploads", {method: "POST", body: file.value})
      request.digest = upload.digest
    } else request.reference = reference.value
    if (keep.value) request.keep = ["grants", "config", "limits", "rollout"]
    else {
      try {
        request.grants = JSON.parse(grants.value)
      } catch (e) {
        throw new Error(`${w.grants}: ${(e as Error).message}`)
      }
    }
    const share = Number(percent.value)
    if (share < 100) request.canary = {percent: share}
    return request
  }
  const check = async () => {
    report.value = undefined
    consent.value = false
    told.value = ""
    report.value = (await call<{report: Report}>(path() + "?dryRun=true", {method: "PUT", json: await body()})).report
  }
  const install = async () => {
    const request = await body()
    if (consent.value) request.consent = report.value?.comparison?.digest
    told.value = w.wait
    try {
      await call(path(), {method: "PUT", json: request})
      let tag = ""
      for (;;) {
        const p: Plugin = await call(path() + (tag ? "?after=" + encodeURIComponent(tag) : ""))
        if (p.state === "failed") throw new Refusal(502, p.because ?? words.common.failed)
        if (p.state === "active") break
        tag = p.tag
      }
    } catch (e) {
      told.value = ""
      throw e
    }
    told.value = w.installed
    report.value = undefined
    go("plugins", name.value)
  }
  const more = report.value?.comparison?.more?.length ?? 0
  const changed = () => { report.value = undefined }
  return <form class="form" onSubmit={e => e.preventDefault()} onInput={e => { if (!(e.target as Element).matches("[data-consent]")) changed() }}>
    {!given && <Field label={words.common.name}><input required value={name.value} onInput={e => { name.value = e.currentTarget.value }} /></Field>}
    <Field label={w.reference} hint={w.referenceHint}><input value={reference.value} disabled={!!file.value} onInput={e => { reference.value = e.currentTarget.value }} /></Field>
    <Field label={w.file}><input type="file" accept=".wasm" onInput={e => { file.value = e.currentTarget.files?.[0] }} /></Field>
    {given && <label class="check"><input type="checkbox" checked={keep.value} onInput={e => { keep.value = e.currentTarget.checked }} /> {w.keep}</label>}
    {!keep.value && <Field label={w.grants}><textarea rows={4} spellcheck={false} value={grants.value} onInput={e => { grants.value = e.currentTarget.value }} /></Field>}
    {given && <Field label={w.share}><input type="number" min={1} max={100} value={percent.value} onInput={e => { percent.value = e.currentTarget.value }} /></Field>}
    {report.value && <div>
      <p>{report.value.version} {report.value.source && <code>{report.value.source}</code>}</p>
      {report.value.comparison && <Compared of={report.value.comparison} />}
      {report.value.warnings?.map(text => <p key={text} class="warning">{text}</p>)}
      {more > 0 && <label class="check"><input data-consent type="checkbox" checked={consent.value} onInput={e => { consent.value = e.currentTarget.checked }} /> {w.consent}</label>}
    </div>}
    <p role="status">{told.value}</p>
    <div class="actions">
      <Button run={check} disabled={!name.value || !(reference.value || file.value)}>{w.check}</Button>
      {report.value && <Button kind="main" run={install} disabled={more > 0 && !consent.value}>{w.run}</Button>}
    </div>
  </form>
}
