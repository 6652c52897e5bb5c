// Every text of the page, so that another language is another file like this one.
export const words = {
  product: "Bulkhead",
  pages: {
    home: "Home", plugins: "Plugins", sessions: "Sessions", terminal: "Terminal", features: "Features",
    policy: "Policy", directory: "Directory", audit: "Audit", settings: "Configuration",
  },
  common: {
    loading: "Loading …", none: "None.", cancel: "Cancel", close: "Close", reload: "Reload", more: "More",
    search: "Type to filter", requestId: "request id", unavailable: "This part could not be loaded.",
    skip: "Skip to the content", menu: "Menu", name: "Name", state: "State", version: "Version", since: "Since", until: "Until",
    confirm: "Go on", reason: "Reason", required: "required", copied: "Copied", yes: "yes", no: "no", failed: "That failed.",
  },
  session: {
    signIn: "Sign in", signOut: "Sign out", signedOutTitle: "You are signed out",
    signedOut: "Your sign-in has ended, here or elsewhere. What you have typed is still on this page. Sign in in another tab, then go on here.",
    goOn: "Go on", openSignIn: "Open the sign-in page", offline: "The host does not answer. Trying again …",
  },
  reason: {
    title: "This page needs a reason", text: "Your role gives you this only with a stated reason. It is kept with each decision, and goes with what you do in administration until you take it back.",
    state: "State the reason", given: "Reason", forget: "Take it back",
  },
  palette: { title: "Go to", placeholder: "Type a page, a plugin or a route", none: "Nothing matches." },
  home: {
    hello: (name: string) => `Hello, ${name}`, attention: "What needs attention", calm: "Nothing needs attention.",
    plugins: "Plugins that you may use", routes: (n: number) => `${n} ${n === 1 ? "route" : "routes"}`,
    you: "You", roles: "Roles", teams: "Teams", method: "Signed in by", noRoles: "No role: ask an administrator for one.",
    clusters: (ready: number, total: number) => `${ready} of ${total} clusters answer`, check: "Check",
  },
  plugins: {
    list: "Plugins", catalog: "Catalogue", noCatalog: "The configuration names no catalogue.", origin: "Managed by",
    origins: { file: "configuration file", api: "administrators" } as Record<string, string>,
    replicas: "Replicas", replica: "Replica", phase: "Phase", digest: "Digest", generation: "Generation", self: "this one",
    fresh: "in touch", stale: "out of touch", problem: "Problem", canary: "Canary", history: "Earlier versions",
    approve: "Approve", approveTitle: "Let the new version run?", promote: "Promote", rollback: "Roll back", remove: "Remove",
    removeTitle: (name: string) => `Remove ${name} from every replica?`, rollbackTitle: (name: string) => `Roll ${name} back?`,
    promoteTitle: (name: string) => `Let the canary of ${name} serve everybody?`,
    install: "Install or replace a plugin", reference: "Reference", referenceHint: "https://…, oci://…, oci-layout:DIR or catalog:PLUGIN@VERSION",
    file: "Or a module from this computer", check: "Compare", run: "Install", grants: "Grants, as JSON", keep: "Keep grants, configuration and limits as they are",
    comparison: "What changes", moreTitle: "It may do more than the version that serves:", less: "It may do less:", same: "It may do the same as the version that serves.",
    consent: "I consent to what is new", share: "Share of users in percent; 100 is everybody", installed: "Active on every replica.", wait: "Waiting for the replicas …",
  },
  sessions: {
    mine: "My sessions", everybody: "Everybody's sessions", logins: "My sign-ins", none: "Nothing is running.", end: "End", endAll: "End my other sign-ins",
    user: "User", kind: "Kind", route: "Route", target: "Target", started: "Started", from: "From", current: "this one", endTitle: "End this session?",
    endText: "Its connection closes at once.", replica: "Replica",
  },
  terminal: {
    title: "Terminal", cluster: "Cluster", namespace: "Namespace", pod: "Pod", container: "Container (optional)", command: "Command", open: "Open a terminal",
    split: "Beside it", recorded: "This session is recorded.", ended: (code: number) => `The command ended with exit code ${code}.`,
    closed: (text: string) => `Closed: ${text}`, again: "Open again", reasonTitle: "Why do you need this terminal?",
    reasonText: "This needs a reason. It is kept with the decision.", none: "No terminal is open.", find: "Find in the output",
    limits: { 1000: "complete", 1001: "the connection broke", 1011: "it failed", 1012: "the host restarts or the plugin was replaced",
      4401: "you are signed out", 4403: "not permitted", 4408: "idle for too long, or at the time limit", 4410: "ended from another client",
      4404: "not found", 4503: "not available, try again later" } as Record<number, string>,
  },
  ui: {
    gone: "This plugin has no page, or you may not use it.", routes: "All routes", terminal: "Open a terminal here?", of: "page of a plugin",
    reason: (page: string) => `${page} asks for something that needs a reason`,
  },
  features: {
    title: "Features", intro: "Each route of a plugin that you may use. Fill in its parameters and send it.", send: "Send", body: "Body, as JSON",
    answer: "Answer", params: "Parameters", query: "Further parameters, as a=b&c=d", changes: "changes something", reads: "reads", stop: "Stop",
    events: "Events", took: (ms: number) => `${ms} ms`, sockets: "This route is a websocket; terminals are opened on the page Terminal.", confirm: "Send a request that changes something?",
  },
  policy: {
    title: "Policy", status: "Policy in force", revision: "Revision", origin: "Origin", digest: "Digest", log: "Decision log", written: "written", dropped: "lost", waiting: "waiting",
    explain: "May this person do this?", user: "User", action: "Action", resource: "Resource (optional)", capability: "Capability (optional)", verb: "Verb (optional)",
    ask: "Ask", allowed: "Allowed", denied: "Denied", granted: "Permissions that count", near: "Permissions that almost count", rules: "Rules", misses: "misses", shadow: "Compare the candidate",
    differences: (n: number, of: number) => `${n} of ${of} decisions would change.`, matrix: "Who may do what", changed: "Change", times: "Times",
  },
  audit: {
    title: "Audit", user: "User", action: "Action", target: "Target", kind: "Kind", request: "Request id", since: "Since", show: "Show", older: "Older", time: "Time",
    what: "What", outcome: "Outcome", id: "Id", record: "Record", one: "All about this", all: "Everything again", replica: "Records of this replica",
    verify: "Verify", sound: (n: number) => `Nothing was changed, moved or removed in ${n} records.`, unsound: "The records are not what the host wrote:",
    joined: "The id is also the Audit-ID in the cluster's own audit log; the request's id is in the log, the decision log and the trace.",
  },
  directory: { title: "Directory", problems: "Problems", calm: "No entry has a problem.", revision: "Revision", clusters: "Clusters that it is read from", where: "Where", what: "What" },
  settings: {
    title: "Configuration", file: "File", since: "Serves since", revision: "Revision", problem: "A later version was refused", preview: "What would change", apply: "Reload now",
    applied: "The configuration was reloaded.", nothing: "The file is what serves; nothing would change.", changes: "Changes",
  },
}
