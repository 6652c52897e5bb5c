package bulkhead.prohibitions_test

import data.bulkhead.authz
import data.bulkhead.default_test as base

admin := {"kind": "role", "id": "admin"}

everything := {
	"actions": [{"from": admin, "action": "*"}],
	"plugins": [{"from": admin, "name": "*", "custom": []}],
	"resources": [{"from": admin, "clusters": ["*"], "namespaces": ["*"], "resources": ["*"], "verbs": ["*"]}],
}

decide(capability) := decision if {
	decision := authz.decision with input as object.union(base.asking(capability), {"permissions": everything})
}

refused(capability, what) if {
	decide(capability) == {"allow": false, "reason": {"code": "prohibited", "args": {"what": what}}}
}

test_secrets_are_out_of_reach_whatever_the_verb if {
	every verb in ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"] {
		refused(base.call("kube", {"resource": "secrets", "verb": verb}), "secrets")
	}
}

test_a_chart_may_declare_secrets if {
	every verb in ["get", "create", "update", "patch", "delete"] {
		decide(base.call("kube", {"resource": "secrets", "verb": verb, "via": "helm"})).allow
	}
}

test_a_chart_does_not_read_secrets if {
	every verb in ["get", "list", "watch", "create"] {
		refused(base.call("kube", {"resource": "secrets", "verb": verb, "via": "helm.lookup"}), "secrets")
	}
	every verb in ["list", "watch", "deletecollection"] {
		refused(base.call("kube", {"resource": "secrets", "verb": verb, "via": "helm"}), "secrets")
	}
}

test_a_chart_is_held_by_the_other_prohibitions if {
	refused(
		base.call("kube", {"resource": "serviceaccounts", "subresource": "token", "verb": "create", "via": "helm"}),
		"serviceaccounts/token",
	)
}

test_a_chart_needs_permissions_for_what_it_declares if {
	every via in ["helm", "helm.lookup"] {
		asked := base.asking(base.call("kube", {"resource": "configmaps", "verb": "create", "via": via}))
		decision := authz.decision with input as base.without(asked, "resources")
		decision.reason.code == "no_resource"
	}
}

test_secrets_are_out_of_reach_without_a_named_group if {
	refused(object.remove(base.call("kube", {"resource": "secrets"}), ["group"]), "secrets")
}

test_a_resource_called_secrets_of_another_group_is_not_meant if {
	decide(base.call("kube", {"resource": "secrets", "group": "vault.example.com"})).allow
}

test_tokens_are_out_of_reach if {
	refused(
		base.call("kube", {"resource": "serviceaccounts", "subresource": "token", "verb": "create"}),
		"serviceaccounts/token",
	)
}

test_proxies_are_out_of_reach if {
	every resource in ["nodes", "pods", "services"] {
		refused(base.call("kube", {"resource": resource, "subresource": "proxy"}), "proxy")
		refused(base.call("kube", {"resource": resource, "verb": "proxy"}), "proxy")
	}
}

test_terminals_are_exec_calls_only if {
	every subresource in ["exec", "attach", "portforward"] {
		every verb in ["get", "create"] {
			refused(
				base.call("kube", {"resource": "pods", "subresource": subresource, "verb": verb}),
				concat("/", ["pods", subresource]),
			)
		}
		every name in ["exec", "pods"] {
			decide(base.call(name, {"resource": "pods", "subresource": subresource, "verb": "create"})).allow
		}
	}
}

test_calls_of_pods_are_of_a_pod_only if {
	every subresource in ["exec", "attach", "portforward", "log", "copy", "ephemeralcontainers"] {
		decide(base.call("pods", {"resource": "pods", "subresource": subresource})).allow
		refused(base.call("pods", {"resource": "nodes", "subresource": subresource}), "pods on anything but a pod")
	}
	every subresource in ["", "proxy", "status"] {
		refused(base.call("pods", {"resource": "pods", "subresource": subresource}), "pods on anything but a pod")
	}
}

test_debug_containers_have_an_image_of_the_operator if {
	containers := {"resource": "pods", "subresource": "ephemeralcontainers"}
	decide(base.call("kube", object.union(containers, {"verb": "get"}))).allow
	every verb in ["update", "patch"] {
		refused(base.call("kube", object.union(containers, {"verb": verb})), "pods/ephemeralcontainers")
	}
}

test_exec_calls_are_terminals_only if {
	every fields in [
		{"resource": "secrets"},
		{"resource": "pods"},
		{"resource": "pods", "subresource": "log"},
		{"resource": "nodes", "subresource": "exec"},
		{"resource": "pods", "subresource": "exec", "group": "fake.example.com"},
	] {
		refused(base.call("exec", fields), "exec on anything but a pod's terminal")
	}
}

test_what_is_not_prohibited_is_left_to_permissions if {
	decide(base.call("kube", {"resource": "pods", "subresource": "log"})).allow
	decide(base.call("kube", {"resource": "serviceaccounts", "verb": "list"})).allow
}
