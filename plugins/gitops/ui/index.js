// The page of gitops. Each tab is a file; a change shows what it would change first.
import { bulkhead } from "./bulkhead.js";
import { element, field } from "./bulkhead.dom.js";
import { applications } from "./applications.js";
import { drift } from "./drift.js";
import { flux } from "./flux.js";
import { releases } from "./releases.js";

const tabs = [
  { id: "releases", title: "Releases", route: "helm-releases", show: releases },
  { id: "applications", title: "Argo CD", route: "argocd-applications", show: applications },
  { id: "flux", title: "Flux", route: "flux-objects", show: flux },
  { id: "drift", title: "Drift", route: "drifts", show: drift },
].filter(t => bulkhead.can(t.route));

const place = element("div");
const menu = element("nav", { "aria-label": "gitops" });
const scope = {
  cluster: element("input", { size: "12", placeholder: "all configured" }),
  namespace: element("input", { size: "12", placeholder: "all" }),
};
const where = () => ({ cluster: scope.cluster.value.trim() || undefined, namespace: scope.namespace.value.trim() || undefined });

function show() {
  const tab = tabs.find(t => t.id === bulkhead.path[0]) ?? tabs[0];
  menu.replaceChildren(...tabs.map(t => element("button", {
    type: "button", class: t === tab ? "main" : undefined, "aria-current": t === tab ? "page" : undefined, onclick: () => bulkhead.navigate(t.id),
  }, t.title)));
  bulkhead.title(tab ? `gitops: ${tab.title}` : "gitops");
  if (tab) tab.show(place, where);
}

document.body.append(
  element("section", {}, menu, element("form", { class: "scope", onsubmit: e => { e.preventDefault(); show(); } },
    field("Cluster", scope.cluster), field("Namespace", scope.namespace), element("button", {}, "Show"))),
  place,
);
bulkhead.onNavigate(show);
show();
