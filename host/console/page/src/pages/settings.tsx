import {useSignal} from "@preact/signals"
import {call} from "../api"
import {useLive} from "../live"
import {Button, Card, Loaded, Title, When} from "../parts/view"
import {can} from "../state"
import type {ConfigReport, ConfigStatus} from "../types"
import {words} from "../words"

const w = words.settings

export default function Settings() {
  const status = useLive<ConfigStatus>("/api/admin/config", 5000)
  const report = useSignal<ConfigReport | undefined>(undefined)
  const reload = async (dry: boolean) => {
    report.value = undefined
    report.value = await call("/api/admin/config/reload" + (dry ? "?dryRun=true" : ""), {method: "POST"})
    status.reload()
  }
  return <>
    <Title>{w.title}</Title>
    <Card>
      <Loaded of={status}>{s => <>
        <dl>
          <dt>{w.file}</dt><dd><code>{s.file}</code></dd>
          <dt>{w.since}</dt><dd><When at={s.since} /></dd>
          <dt>{w.revision}</dt><dd><code>{s.revision.slice(0, 12)}</code></dd>
        </dl>
        {s.refused && <div class="problem" role="alert"><p>{w.problem} <When at={s.refused.at} /></p><pre>{s.refused.reason}</pre></div>}
      </>}</Loaded>
      {can("admin:config.reload") && <div class="actions">
        <Button run={() => reload(true)}>{w.preview}</Button>
        <Button kind="main" run={() => reload(false)}>{w.apply}</Button>
      </div>}
      {report.value && <div aria-live="polite">
        <p>{report.value.outcome === "applied" ? w.applied : report.value.changes.length === 0 ? w.nothing : w.changes}</p>
        <ul class="changes">{report.value.changes.map(c => <li key={JSON.stringify(c)}><code>{c.path ?? c.field ?? JSON.stringify(c)}</code></li>)}</ul>
      </div>}
    </Card>
  </>
}
