import {signal} from "@preact/signals"
import type {Target} from "./terminal"

/** What a plugin's page asked a terminal for; the page Terminal takes it over. */
export const prefill = signal<Partial<Target> | undefined>(undefined)
