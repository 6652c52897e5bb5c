// Terminals: they stay open while other pages are shown, until they are closed here.
import {signal, useSignal} from "@preact/signals"
import {useEffect, useRef} from "preact/hooks"
import {openTerminal, type Target, type Terminal} from "../terminal"
import {prefill} from "../prefill"
import {confirm} from "../parts/dialog"
import {Button, Card, Field, Title} from "../parts/view"
import {words} from "../words"

const w = words.terminal
const terminals = signal<Terminal[]>([])

export default function Terminals() {
  return <>
    <Title>{w.title}</Title>
    <Card><Open /></Card>
    {terminals.value.length === 0 ? <p class="quiet">{w.none}</p> : <div class="terminals">{terminals.value.map(t => <Pane key={t.id} of={t} />)}</div>}
  </>
}

const remembered = "bulkhead.terminal"

function last(): Target {
  const none = {cluster: "", namespace: "", pod: "", container: "", command: "/bin/sh"}
  try {
    return {...none, ...JSON.parse(sessionStorage.getItem(remembered) ?? "{}")}
  } catch {
    return none
  }
}

function Open() {
  const target = useSignal(last())
  useEffect(() => {
    if (!prefill.value) return
    target.value = {...target.value, ...prefill.value}
    prefill.value = undefined
  }, [prefill.value])
  const open = async (reason = "") => {
    sessionStorage.setItem(remembered, JSON.stringify(target.value))
    const t = await openTerminal({...target.value}, reason)
    terminals.value = [...terminals.value, t]
  }
  const labels = {cluster: w.cluster, namespace: w.namespace, pod: w.pod, container: w.container, command: w.command}
  return <form class="form" onSubmit={e => e.preventDefault()}>
    <div class="fields">{(Object.keys(labels) as (keyof Target)[]).map(name => <Field key={name} label={labels[name]}>
      <input value={target.value[name]} required={name !== "container"} autocapitalize="off" spellcheck={false}
        onInput={e => { target.value = {...target.value, [name]: e.currentTarget.value} }} /></Field>)}</div>
    <Button kind="main" run={() => open()} disabled={!target.value.cluster || !target.value.namespace || !target.value.pod}>{w.open}</Button>
  </form>
}

function Pane({of}: {of: Terminal}) {
  const place = useRef<HTMLDivElement>(null)
  const find = useSignal("")
  useEffect(() => {
    place.current!.append(of.element)
    of.fit()
    const watch = new ResizeObserver(() => of.fit())
    watch.observe(place.current!)
    of.focus()
    return () => {
      watch.disconnect()
      of.element.remove()
    }
  }, [of])
  useEffect(() => {
    if (of.ended.value?.reasonRequired) confirm({title: w.reasonTitle, text: <p>{w.reasonText}</p>, reason: true, run: r => of.connect(r)})
  }, [of.ended.value])
  const close = () => {
    of.close()
    terminals.value = terminals.value.filter(t => t !== of)
  }
  const again = () => of.connect()
  return <section class="terminal" aria-label={of.title}>
    <header>
      <strong>{of.title}</strong>
      {of.recorded.value && <span class="state" data-state="recorded">{w.recorded}</span>}
      <input type="search" aria-label={w.find} placeholder={w.find} value={find.value} onInput={e => { find.value = e.currentTarget.value }}
        onKeyDown={e => { if (e.key === "Enter") of.find(find.value, e.shiftKey) }} />
      <Button kind="quiet" run={close} label={`${words.common.close} ${of.title}`}>{words.common.close}</Button>
    </header>
    {of.ended.value && <p class="ended" role="status">{of.ended.value.text} <Button run={again}>{w.again}</Button></p>}
    <div class="screen" ref={place} />
  </section>
}
