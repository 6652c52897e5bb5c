package bulkhead.default

# METADATA
# description: >-
#   The permissions of azure calls: custom entries of plugin permissions, each
#   every combination of its lists {resources, resourceGroups, verbs}, and of
#   instances if there is such a list. One that is malformed, or has another key,
#   which may have been meant to narrow it, allows nothing and hides no other.
#   Azure does not tell upper from lower case. A call that lists over all resource
#   groups is covered by any.
azure_triples := [triple |
	some permission in input.permissions.plugins
	some triple in permission.custom
	azure_covers("resource", triple)
	azure_covers("verb", triple)
	azure_covers("resource group", triple)
	azure_covers("instance", triple)
	count(azure_unknown(triple)) == 0
]

# METADATA
# description: What keeps an entry from covering the call; explanations ask for it.
azure_misses(triple) := array.concat(
	[dimension |
		some dimension in ["resource", "verb", "resource group", "instance"]
		not azure_covers(dimension, triple)
	],
	[sprintf("meaning of the key %q", [key]) | some key in azure_unknown(triple)],
)

azure_keys := {"instances", "resourceGroups", "resources", "verbs"}

azure_unknown(triple) := object.keys(triple) - azure_keys if is_object(triple)

azure_covers("resource", triple) if {
	some resource in triple.resources
	kind_covered(resource)
}

azure_covers("verb", triple) if {
	some verb in triple.verbs
	verb_covered(verb)
}

azure_covers("resource group", triple) if group_covered(triple.resourceGroups)

azure_covers("instance", triple) if {
	is_object(triple)
	some instance in object.get(triple, "instances", ["*"])
	matches(instance, input.capability.instance)
}

kind_covered(pattern) if matches(pattern, input.capability.resource)

# The list of resource groups shows those in which there is something to see.
kind_covered(pattern) if {
	input.capability.resource == "resourcegroups"
	is_string(pattern)
}

verb_covered(pattern) if matches(pattern, input.capability.verb)

# "put" is every change, as in kobs.
verb_covered(pattern) if {
	input.capability.verb in {"restart", "start", "stop"}
	matches(pattern, "put")
}

group_covered(groups) if {
	input.capability.spans
	some group in groups
	is_string(group)
}

group_covered(groups) if {
	some group in groups
	matches(group, input.capability.resourceGroup)
}

# METADATA
# scope: document
# description: Whether value is what pattern says, "*" standing for any run of characters.
matches("*", _)

matches(pattern, value) if {
	is_string(pattern)
	lower(pattern) == lower(value)
}

matches(pattern, value) if {
	is_string(pattern)
	contains(pattern, "*")
	glob.match(replace(glob.quote_meta(lower(pattern)), `\*`, "*"), null, lower(value))
}
