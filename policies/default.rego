# METADATA
# title: The shipped rules
# description: >-
#   The host has matched the person's permissions with the question already;
#   input.permissions holds only those that cover it. These rules say which of
#   them a question needs, what nobody may do, and whom the host acts as.
package bulkhead.default

# METADATA
# description: >-
#   Allowed only where every condition holds. The reason of a refusal is the
#   first that applies, in the order of the chain below.
decision := {
	"allow": true,
	"reason": {"code": "permitted", "args": {"from": input.permissions.actions[0].from}},
	"obligations": obligations,
} if {
	identified
	not prohibited
	input.permissions.actions[0]
	input.permissions.plugins[0]
	resource_covered
} else := {
	"allow": false,
	"reason": refusal,
}

default refusal := {"code": "denied"}

refusal := {"code": "nobody"} if {
	not identified
} else := {"code": "prohibited", "args": {"what": what}} if {
	what := prohibited
} else := {"code": "no_plugin", "args": {"plugin": input.route.plugin}} if {
	# First, so that the reason is the same for a plugin that does not exist.
	not input.permissions.plugins[0]
} else := {"code": "no_action", "args": {"action": input.route.action}} if {
	not input.permissions.actions[0]
} else := {"code": "no_rule", "args": {"capability": input.capability.name}} if {
	not input.capability.name in known_capabilities
} else := {"code": "no_resource", "args": target} if {
	not resource_covered
}

# An identity of the cluster's own is nobody here, whoever vouches for it.
identified if {
	input.principal.user != ""
	not startswith(input.principal.user, "system:")
}

known_capabilities := cluster_capabilities

cluster_capabilities := {"exec", "helm", "kube"}

# The route itself needs no resource: what it touches is decided when it does.
resource_covered if not input.capability

resource_covered if {
	input.capability.name in cluster_capabilities
	input.permissions.resources[0]
}

target := {key: value |
	some key in ["verb", "group", "resource", "subresource", "cluster", "namespace"]
	value := input.capability[key]
	value != ""
}

# METADATA
# description: Conditions of an allow that the host enforces.
default obligations := {}

obligations := {"impersonate": {
	"user": input.principal.user,
	"groups": array.concat(
		[group | some role in input.principal.roles; group := concat(":", ["bulkhead:role", role])],
		[group | some team in input.principal.teams; group := concat(":", ["bulkhead:team", team])],
	),
}} if {
	input.capability.name in cluster_capabilities
}
