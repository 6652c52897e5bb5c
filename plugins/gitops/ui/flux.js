import { bulkhead } from "./bulkhead.js";
import { button, element, fill, table } from "./bulkhead.dom.js";
import { change, missing, state, sure } from "./common.js";

/** flux shows the objects of Flux. */
export function flux(place, where) {
  const list = element("section"), act = element("div");
  place.replaceChildren(act, list);
  const load = () => fill(list, async () => {
    const { body } = await bulkhead.call("flux-objects", { query: where() });
    return [element("h2", {}, "Flux"), ...missing(body.errors), table("Objects of Flux", [
      { head: "Cluster", cell: o => o.cluster }, { head: "Kind", cell: o => o.kind }, { head: "Name", cell: o => `${o.namespace}/${o.name}` },
      { head: "Ready", cell: o => o.suspended ? `suspended by ${o.suspended.by ?? "somebody"} ${o.suspended.reason ?? ""}` : state(o.ready, ["True"], ["False"]) },
      { head: "Revision", cell: o => o.revision }, { head: "", cell: o => o.message },
      { head: "", cell: o => acts(o, act, load) },
    ], body.items ?? [])];
  });
  load();
}

function acts(o, act, reload) {
  const target = { cluster: o.cluster, namespace: o.namespace, kind: o.kind, name: o.name };
  const reason = element("input", { "aria-label": "Reason", placeholder: "Reason", maxlength: "200" });
  const ask = (route, label, question) => bulkhead.can(route) && button(label, () => sure(act, question, reason, async () => { await change(route, { ...target, reason: reason.value }); reload(); }));
  return element("span", { class: "acts" },
    bulkhead.can("flux-reconcile") && button("Reconcile", async () => { await change("flux-reconcile", { ...target, withSource: true }); reload(); }),
    o.suspended ? ask("flux-resume", "Resume", `Resume ${o.kind} ${o.name}?`) : ask("flux-suspend", "Suspend", `Suspend ${o.kind} ${o.name}?`));
}
