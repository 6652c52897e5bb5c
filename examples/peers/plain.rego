# What one would write for OPA alone: team permissions as data, matched in Rego.
# It knows no roles, prohibitions, conditions or reasons, so it does less than
# the rules that Bulkhead ships.
package peers

default decision := {"allow": false}

decision := {"allow": true} if {
	some team in data.members[input.user]
	some permission in data.teams[team]
	has(permission.clusters, input.cluster)
	has(permission.namespaces, input.namespace)
	has(permission.resources, input.resource)
	has(permission.verbs, input.verb)
}

has(list, x) if x in list

has(list, _) if "*" in list
