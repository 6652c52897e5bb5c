// Dialogs: one at a time, closed with Escape, and the focus returns to where it was.
import type {ComponentChildren} from "preact"
import {signal, useSignal} from "@preact/signals"
import {useEffect, useRef} from "preact/hooks"
import {words} from "../words"
import {Problem} from "./view"

interface Question { title: string; text?: ComponentChildren; run: (reason: string) => unknown; danger?: boolean; reason?: boolean; cancel?: () => void }

const open = signal<Question | undefined>(undefined)

/** confirm asks before an action. run's error is shown in the dialog, which then stays. */
export const confirm = (q: Question) => {
  open.value?.cancel?.()
  open.value = q
}

/** asking tells whether a question is open, which only the person's own action may replace. */
export const asking = () => open.value !== undefined

export function Modal({title, children, close}: {title: string; children: ComponentChildren; close?: () => void}) {
  const self = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    self.current?.showModal()
    return () => self.current?.close()
  }, [])
  return <dialog ref={self} aria-label={title} onCancel={e => { e.preventDefault(); close?.() }}>
    <h2>{title}</h2>
    {children}
  </dialog>
}

export function Dialogs() {
  return open.value ? <Confirm key={open.value.title} question={open.value} /> : null
}

function Confirm({question}: {question: Question}) {
  const busy = useSignal(false)
  const error = useSignal<unknown>(undefined)
  const reason = useSignal("")
  const close = () => { open.value = undefined }
  const cancel = () => {
    close()
    question.cancel?.()
  }
  const submit = async (e: Event) => {
    e.preventDefault()
    busy.value = true
    error.value = undefined
    try {
      await question.run(reason.value)
      close()
    } catch (problem) {
      error.value = problem
    } finally {
      busy.value = false
    }
  }
  return <Modal title={question.title} close={cancel}>
    <form onSubmit={submit}>
      {question.text && <div>{question.text}</div>}
      {question.reason && <label class="field"><span>{words.common.reason}</span>
        <input required maxLength={500} value={reason.value} onInput={e => { reason.value = e.currentTarget.value }} /></label>}
      <Problem error={error.value} />
      <div class="actions">
        <button type="button" class="quiet" onClick={cancel}>{words.common.cancel}</button>
        <button class={question.danger ? "danger" : "main"} disabled={busy.value} aria-busy={busy.value}>{words.common.confirm}</button>
      </div>
    </form>
  </Modal>
}
