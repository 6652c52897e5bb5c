// What the host answers, as far as the page reads it.
export interface Me { user: string; name: string; roles: string[]; teams: string[]; login: {method: string; at: string; until: string} }
export interface Route {
  plugin: string; name: string; kind: "unary" | "events" | "socket"; method: string; path: string; action: string
  mutates: boolean; resource?: Record<string, string>; reasonRequired?: boolean
}
export interface PluginPage { plugin: string; title: string; icon?: string; path: string; routes: string[] }
export interface Login { id: string; method: string; at: string; until: string; current?: boolean }
export interface Session {
  id: string; user: string; kind: string; plugin: string; route?: string; target?: string
  started: string; remoteAddr?: string; replica: string; current?: boolean
}
export interface Change { field: string; old?: string; new?: string }
export interface Comparison { from?: string; to: string; more?: Change[]; less?: Change[]; changed?: Change[]; digest: string }
export interface Version { digest: string; source?: string; plugin?: string; version?: string; by?: string; at?: string; rule?: {percent?: number; promoteAfter?: string} }
export interface Replica {
  replica: string; fresh: boolean; self?: boolean; phase?: string; version?: string; digest?: string; canary?: string
  generation?: number; step?: string; reason?: string; refused?: string
}
export interface Plugin {
  name: string; origin: string; state: "active" | "progressing" | "failed"; because?: string; revision?: number; by?: string; at?: string
  serve?: Version; canary?: Version; earlier?: Version[]; replicas: Replica[]; tag: string
  waiting?: {since: string; version: string; digest: string; comparison: Comparison}
}
export interface Report { outcome: string; version?: string; digest?: string; source?: string; comparison?: Comparison; warnings?: string[]; steps: {step: string; took: string}[] }
export interface Catalog {
  source: string; problem?: string; identities?: string[]
  plugins?: {name: string; version: string; description?: string; capabilities?: string[]; reference: string}[]
}
export interface Ready { status: string; checks: Record<string, string>; clusters?: {ready: number; total: number} }
export interface PolicyStatus {
  revision: number; since: string; origin: string; digest: string; error?: string
  log?: {denied: number; destinations?: Record<string, {written: number; dropped: number; waiting: number}>}
  shadow?: unknown
}
export interface Place { text: string; at: string }
export interface GrantLine { kind: string; from: string; at: string; text: string; misses?: string[] }
export interface Explanation {
  question: string; allow: boolean; reason: {code: string}; sentence: string; refused?: string[]; warnings?: string[]
  roles: string[]; teams: string[]; rules: Place[]; unmet?: Place[]; granted?: GrantLine[]; near?: GrantLine[]; error?: string
}
export interface Difference { user: string; action: string; capability?: string; what: string; old: string; new: string; count: number }
export interface DirectoryState {
  revision: number; problems: {file: string; line?: number; kind?: string; id?: string; text: string}[]
  clusters: {cluster: string; known: boolean; objects: number; problem?: string}[]
}
export interface ConfigStatus { file?: string; revision: string; since: string; refused?: {at: string; reason: string} }
export interface ConfigReport { outcome: string; changes: {path?: string; field?: string; [key: string]: unknown}[]; plugins?: Record<string, string> }
export interface AuditRecord {
  seq: number; time: string; id?: string; stage: string; kind: string; action?: string; user?: string; target?: string; outcome?: string; error?: string
  requestId?: string; traceId?: string; decision?: string; [key: string]: unknown
}
export interface AuditReport { records: number; problems: {file?: string; line?: number; text: string}[] }
