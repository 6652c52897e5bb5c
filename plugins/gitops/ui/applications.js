import { bulkhead } from "./bulkhead.js";
import { button, element, fill, table } from "./bulkhead.dom.js";
import { change, missing, state, sure } from "./common.js";

/** applications shows Argo CD's Applications. */
export function applications(place, where) {
  const list = element("section"), act = element("div");
  place.replaceChildren(act, list);
  const load = () => fill(list, async () => {
    const { body } = await bulkhead.call("argocd-applications", { query: where() });
    return [element("h2", {}, "Applications"), ...missing(body.errors), table("Applications", [
      { head: "Cluster", cell: a => a.cluster }, { head: "Application", cell: a => a.name }, { head: "Project", cell: a => a.project },
      { head: "Sync", cell: a => state(a.syncStatus, ["Synced"], ["OutOfSync"]) },
      { head: "Health", cell: a => state(a.healthStatus, ["Healthy"], ["Degraded", "Missing"]) },
      { head: "Source", cell: a => [a.repoURL, a.path ?? a.chart, a.targetRevision].filter(Boolean).join(" ") },
      { head: "Operation", cell: a => a.operation && `${a.operation.phase} ${a.operation.initiatedBy ?? ""}` },
      { head: "", cell: a => acts(a, act, load) },
    ], body.items ?? [])];
  });
  load();
}

function acts(a, act, reload) {
  const target = { cluster: a.cluster, namespace: a.namespace, appName: a.name };
  const ask = (route, label, question) => bulkhead.can(route) && button(label, () => sure(act, question, "", async () => { await change(route, target); reload(); }));
  return element("span", { class: "acts" },
    ask("argocd-sync", "Sync", `Sync ${a.name}?`),
    ask("argocd-rollback", "Roll back", `Roll ${a.name} back to the deployment before?`),
    a.operation?.phase === "Running" && ask("argocd-terminate", "Stop", `Stop what runs on ${a.name}?`),
    bulkhead.can("argocd-refresh") && button("Refresh", async () => { await change("argocd-refresh", target); reload(); }));
}
