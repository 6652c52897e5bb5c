package bulkhead.default_test

import data.bulkhead.authz
import data.bulkhead.default as shipped

viewer := {"kind": "role", "id": "viewer"}

permissions := {
	"actions": [{"from": viewer, "action": "*:*.read"}],
	"plugins": [{"from": viewer, "name": "*", "custom": []}],
	"resources": [{"from": viewer, "clusters": ["*"], "namespaces": ["*"], "resources": ["*"], "verbs": ["*"]}],
}

route_input := {
	"principal": {
		"user": "ann@example.com", "roles": ["viewer"], "teams": ["payments"],
		"claims": {}, "login": {"id": "l1", "method": "dev"},
	},
	"permissions": permissions,
	"route": {
		"plugin": "gitops", "name": "helm-releases", "action": "gitops:helm.read",
		"method": "GET", "path": "/helm-releases", "params": {}, "mutates": false,
	},
	"resource": {"cluster": "dev"},
	"reason": "",
}

call(name, fields) := object.union(
	{
		"name": name, "verb": "get", "cluster": "dev", "group": "", "resource": "", "subresource": "",
		"namespace": "shop", "resourceGroup": "", "object": "", "host": "", "path": "", "spans": false,
	},
	fields,
)

asking(capability) := object.union(route_input, {"capability": capability})

pods := call("kube", {"resource": "pods"})

terminal := call("exec", {"resource": "pods", "subresource": "exec", "verb": "create"})

without(document, kind) := json.patch(document, [{"op": "replace", "path": ["permissions", kind], "value": []}])

test_the_shim_gives_the_shipped_decision if {
	authz.decision == shipped.decision with input as route_input
	authz.decision.allow with input as route_input
}

test_no_input_is_denied if {
	authz.decision == {"allow": false, "reason": {"code": "nobody"}} with input as {}
}

test_a_route_needs_an_action if {
	authz.decision == {
		"allow": false,
		"reason": {"code": "no_action", "args": {"action": "gitops:helm.read"}},
	} with input as without(route_input, "actions")
}

test_a_route_needs_the_plugin if {
	authz.decision == {
		"allow": false,
		"reason": {"code": "no_plugin", "args": {"plugin": "gitops"}},
	} with input as without(route_input, "plugins")
}

test_a_route_needs_no_resource if {
	authz.decision.allow with input as without(route_input, "resources")
}

test_an_allowed_route_says_where_from_and_obliges_to_nothing if {
	authz.decision == {
		"allow": true,
		"reason": {"code": "permitted", "args": {"from": viewer}},
		"obligations": {},
	} with input as route_input
}

test_missing_permissions_deny if {
	every path in ["permissions", "permissions/actions", "permissions/plugins"] {
		not authz.decision.allow with input as json.remove(route_input, [path])
	}
}

test_nobody_is_denied if {
	every user in ["", "system:admin", "system:serviceaccount:kube-system:default"] {
		document := json.patch(route_input, [{"op": "replace", "path": ["principal", "user"], "value": user}])
		decision := authz.decision with input as document
		decision == {"allow": false, "reason": {"code": "nobody"}}
	}
}

test_a_call_on_a_cluster_needs_a_resource if {
	every capability in [pods, call("helm", {"verb": "list"}), terminal] {
		decision := authz.decision with input as without(asking(capability), "resources")
		not decision.allow
		decision.reason.code == "no_resource"
	}
}

test_a_refused_call_names_its_target if {
	decision := authz.decision with input as without(asking(pods), "resources")
	decision.reason.args == {"verb": "get", "resource": "pods", "cluster": "dev", "namespace": "shop"}
}

test_a_call_still_needs_action_and_plugin if {
	every kind in ["actions", "plugins"] {
		decision := authz.decision with input as without(asking(pods), kind)
		not decision.allow
	}
}

test_a_call_that_no_rule_knows_is_denied if {
	decision := authz.decision with input as asking(call("teleport", {}))
	decision == {"allow": false, "reason": {"code": "no_rule", "args": {"capability": "teleport"}}}
}

test_a_call_on_a_cluster_acts_as_the_user if {
	every capability in [pods, call("helm", {"verb": "list"}), terminal] {
		decision := authz.decision with input as asking(capability)
		decision.allow
		decision.obligations == {"impersonate": {
			"user": "ann@example.com",
			"groups": ["bulkhead:role:viewer", "bulkhead:team:payments"],
		}}
	}
}

test_a_role_named_like_the_cluster_own_stays_in_its_namespace if {
	document := json.patch(asking(pods), [{"op": "replace", "path": ["principal", "roles"], "value": ["system:masters"]}])
	decision := authz.decision with input as document
	decision.obligations.impersonate.groups == ["bulkhead:role:system:masters", "bulkhead:team:payments"]
}

spanning(namespaces) := object.union(
	asking(call("kube", {"resource": "pods", "verb": "list", "namespace": "", "spans": true})),
	{"permissions": object.union(permissions, {"resources": [resource |
		some list in namespaces
		resource := object.union(permissions.resources[0], {"namespaces": list})
	]})},
)

test_a_list_over_all_namespaces_shows_those_that_are_permitted if {
	decision := authz.decision with input as spanning([["shop", "bank"], ["team-*", "shop"]])
	decision.allow
	decision.obligations.namespaces == ["bank", "shop", "team-*"]
}

test_who_may_see_all_namespaces_is_not_narrowed if {
	decision := authz.decision with input as spanning([["shop"], ["*"]])
	decision.allow
	not decision.obligations.namespaces
}

test_a_list_without_any_permitted_namespace_is_denied if {
	decision := authz.decision with input as spanning([])
	decision.reason.code == "no_resource"
}

test_an_object_is_not_narrowed if {
	decision := authz.decision with input as asking(pods)
	not decision.obligations.namespaces
}

sessions(action, resource) := object.union(object.remove(route_input, ["permissions", "resource"]), {
	"permissions": {"actions": [], "plugins": [], "resources": []},
	"route": {"plugin": "admin", "action": action},
	"resource": resource,
})

test_a_session_is_its_owners_to_see_and_to_end if {
	every action in ["admin:sessions.read", "admin:sessions.end"] {
		decision := authz.decision with input as sessions(action, {"user": "ann@example.com"})
		decision == {"allow": true, "reason": {"code": "own_session"}, "obligations": {}}
	}
}

test_other_sessions_and_actions_need_a_permission if {
	every document in [
		sessions("admin:sessions.end", {"user": "ben@example.com"}),
		sessions("admin:sessions.end", {}),
		sessions("admin:plugins.read", {"user": "ann@example.com"}),
		object.union(sessions("admin:sessions.end", {"user": ""}), {"principal": {"user": ""}}),
		object.union(sessions("admin:sessions.end", {"user": "ann@example.com"}), {"route": {"plugin": "gitops"}}),
		object.union(sessions("admin:sessions.end", {"user": "ann@example.com"}), {"capability": pods}),
	] {
		decision := authz.decision with input as document
		not decision.allow
	}
}
