package bulkhead.default

# METADATA
# description: >-
#   What is prohibited for every user, whatever their permissions: a short text that
#   names it, undefined if nothing applies. Secrets and tokens would give away
#   identities that the host cannot revoke; no rule here would apply to a proxied
#   request; and a logout would not end a terminal that is not a call of pods, nor is its
#   image one of the operator's.
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
} else := "pods/ephemeralcontainers" if {
	input.capability.name == "kube"
	input.capability.subresource == "ephemeralcontainers"
	not input.capability.verb in {"get", "list", "watch"}
} else := "pods on anything but a pod" if {
	input.capability.name == "pods"
	not of_a_pod
} else := "exec on anything but a pod's terminal" if {
	input.capability.name == "exec"
	not terminal
}

# Charts declare Secrets, and helm checks whether a Secret exists before it writes it;
# it shows the user neither. The user can see what a template reads (helm.lookup).
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

of_a_pod if {
	not other_group
	input.capability.resource == "pods"
	input.capability.subresource in (terminal_subresources | {"copy", "ephemeralcontainers", "log"})
}

# Whether the resource belongs to a group other than the core group.
other_group if input.capability.group != ""
