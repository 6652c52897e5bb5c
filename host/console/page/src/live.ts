// Data that stays current: loaded when a page is shown, again while the page is visible,
// and at once when something asks for it.
import {useSignal} from "@preact/signals"
import {useEffect} from "preact/hooks"
import {call, Refusal, signedOut} from "./api"

export interface Live<T> { value?: T; error?: Error; reload(): void }

const changes = new EventTarget()
/** changed makes every page load its data again. */
export const changed = () => changes.dispatchEvent(new Event("changed"))

/** useLive loads path now and every so many milliseconds while the page is visible. An empty path loads nothing. */
export function useLive<T>(path: string, every = 5000): Live<T> {
  const value = useSignal<T | undefined>(undefined)
  const error = useSignal<Error | undefined>(undefined)
  const turn = useSignal(0)
  useEffect(() => {
    value.value = undefined
    error.value = undefined
  }, [path])
  useEffect(() => {
    if (!path) return
    const stop = new AbortController()
    let timer: ReturnType<typeof setTimeout> | undefined
    const load = async () => {
      clearTimeout(timer)
      if (document.visibilityState === "visible" && !signedOut.value) {
        try {
          const next = await call<T>(path, {signal: stop.signal})
          if (stop.signal.aborted) return
          value.value = next
          error.value = undefined
        } catch (e) {
          if (stop.signal.aborted) return
          error.value = e as Error
          if (e instanceof Refusal && e.status === 403) return
        }
      }
      timer = setTimeout(load, every)
    }
    load()
    changes.addEventListener("changed", load)
    document.addEventListener("visibilitychange", load)
    return () => {
      stop.abort()
      clearTimeout(timer)
      changes.removeEventListener("changed", load)
      document.removeEventListener("visibilitychange", load)
    }
  }, [path, every, turn.value])
  return {value: value.value, error: error.value, reload: () => { turn.value++ }}
}
