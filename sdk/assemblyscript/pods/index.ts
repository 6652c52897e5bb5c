// Lists the names of a namespace's pods, as the user.

import { handle, JSON, kube, Reply } from "../assembly";
export * from "../assembly/entries";

handle("list", r => {
  const pods = kube.get(r.query("cluster"), kube.path(["api", "v1", "namespaces", r.query("namespace"), "pods"]));
  if (pods.fault !== null) return pods; // it says who refused
  const items = JSON.parse(pods.body).get("items").items;
  const names = new Array<string>();
  for (let i = 0; i < items.length; i++) names.push(JSON.quote(items[i].get("metadata").get("name").text));
  return Reply.json(200, "[" + names.join(",") + "]");
});
