# METADATA
# title: The shipped rules
# description: >-
#   The host has already matched the user's permissions with the question;
#   input.permissions has only those that cover it. These rules define which of
#   them a question requires, what is prohibited, and the conditions of an allow.
# schemas:
#   - input: schema.input
package bulkhead.default

# METADATA
# description: >-
#   If the user states a reason, permissions that require one count with the
#   others, on their conditions. A refusal has the first reason that applies.
decision := {
	"allow": true,
	"reason": break_glass_reason,
	"obligations": break_glass_obligations,
} if {
	reason_stated
	input.break_glass
	admissible
	sufficient with input.permissions as permissions_with_reason
} else := {
	"allow": true,
	"reason": {"code": "permitted", "args": {"from": input.permissions.actions[0].from}},
	"obligations": obligations,
} if {
	admissible
	sufficient
} else := {
	"allow": true,
	"reason": {"code": "own_session"},
	"obligations": {},
} if {
	own_session
	identified
} else := {
	"allow": false,
	"reason": refusal,
}

# METADATA
# description: Conditions of an allow that the host enforces.
obligations := object.union(impersonation, narrowing)

admissible if {
	identified
	not prohibited
}

# The cluster's own identities are not users, whoever asserts them.
identified if {
	input.principal.user != ""
	not startswith(input.principal.user, "system:")
}

# METADATA
# description: >-
#   Users may see and end their own sessions. The host applies this to sessions of
#   resource.user only.
own_session if {
	input.route.plugin == "admin"
	input.route.action in {"admin:sessions.read", "admin:sessions.end"}
	input.resource.user == input.principal.user
	not input.capability
}

# METADATA
# description: Whether the permissions cover action, plugin and target of the question.
sufficient if {
	input.permissions.actions[0]
	input.permissions.plugins[0]
	target_covered
}

# The route itself needs no target: each capability call is decided separately.
target_covered if not input.capability

target_covered if {
	input.capability.name in resource_capabilities
	input.permissions.resources[0]
}

target_covered if {
	input.capability.name == "azure"
	some _ in azure_triples
}

cluster_capabilities := {"exec", "helm", "kube", "pods"}

# Those whose calls need a permission of resources.
resource_capabilities := cluster_capabilities | {"git", "http"}

known_capabilities := resource_capabilities | {"azure"}

# METADATA
# scope: document
# description: The identity with which the host acts in the cluster.
default impersonation := {}

impersonation := {"impersonate": {
	"user": input.principal.user,
	"groups": array.concat(
		[group | some role in input.principal.roles; group := concat(":", ["bulkhead:role", role])],
		[group | some team in input.principal.teams; group := concat(":", ["bulkhead:team", team])],
	),
}} if {
	input.capability.name in cluster_capabilities
}

# METADATA
# scope: document
# description: >-
#   A list over all namespaces, or all resource groups, shows those that the
#   permissions name, unless a permission names all.
default narrowing := {}

narrowing := {"namespaces": sort(namespaces)} if {
	input.capability.spans
	input.capability.name in cluster_capabilities
	namespaces := {namespace |
		some permission in input.permissions.resources
		some namespace in permission.namespaces
	}
	not "*" in namespaces
} else := {"resource_groups": sort(groups)} if {
	input.capability.spans
	input.capability.name == "azure"
	groups := {group |
		some triple in azure_triples
		some group in triple.resourceGroups
		is_string(group)
	}
	not "*" in groups
}

default refusal := {"code": "denied"}

refusal := {"code": "nobody"} if {
	not identified
} else := {"code": "prohibited", "args": {"what": prohibited}} if {
	prohibited
} else := {"code": "reason_required", "args": {"from": break_glass_from}} if {
	input.break_glass
	sufficient with input.permissions as permissions_with_reason
} else := {"code": "no_plugin", "args": {"plugin": input.route.plugin}} if {
	# Before the action, so that the reason is the same for a plugin that does not exist.
	not input.permissions.plugins[0]
} else := {"code": "no_action", "args": {"action": input.route.action}} if {
	not input.permissions.actions[0]
} else := {"code": "no_rule", "args": {"capability": input.capability.name}} if {
	not input.capability.name in known_capabilities
} else := {"code": "no_resource", "args": target} if {
	not target_covered
}

target["verb"] := input.capability.verb if input.capability.verb != ""

target["group"] := input.capability.group if input.capability.group != ""

target["resource"] := input.capability.resource if input.capability.resource != ""

target["subresource"] := input.capability.subresource if input.capability.subresource != ""

target["cluster"] := input.capability.cluster if input.capability.cluster != ""

target["instance"] := input.capability.instance if input.capability.instance != ""

target["namespace"] := input.capability.namespace if input.capability.namespace != ""

# regal ignore:prefer-snake-case
target["resourceGroup"] := input.capability.resourceGroup if input.capability.resourceGroup != ""
