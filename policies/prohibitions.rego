package bulkhead.default

# METADATA
# description: >-
#   What nobody may do, whatever they are permitted: a short text that names it,
#   undefined if nothing applies. Secrets and tokens would hand out identities
#   that the host cannot take back; a proxied request would leave the reach of
#   every rule here; a terminal that is no exec call would not be a session that
#   logging out ends.
prohibited := "secrets" if {
	input.capability.name == "kube"
	input.capability.resource == "secrets"
	not other_group
	not declared_by_a_chart
} else := "serviceaccounts/token" if {
	input.capability.name == "kube"
	input.capability.resource == "serviceaccounts"
	input.capability.subresource == "token"
} else := "proxy" if {
	input.capability.name == "kube"
	input.capability.subresource == "proxy"
} else := "proxy" if {
	input.capability.name == "kube"
	input.capability.verb == "proxy"
} else := concat("/", ["pods", input.capability.subresource]) if {
	input.capability.name == "kube"
	input.capability.subresource in terminal_subresources
} else := "exec on anything but a pod's terminal" if {
	input.capability.name == "exec"
	not terminal
}

# Charts declare Secrets, and helm looks whether one is there before it writes it;
# it shows the person neither. What a template reads (helm.lookup) it does show.
declared_by_a_chart if {
	input.capability.via == "helm"
	input.capability.verb in {"get", "create", "update", "patch", "delete"}
}

terminal_subresources := {"attach", "exec", "portforward"}

terminal if {
	not other_group
	input.capability.resource == "pods"
	input.capability.subresource in terminal_subresources
}

# Whether the resource is none of the core group's.
other_group if input.capability.group != ""
