package bulkhead.default

# METADATA
# description: >-
#   The permissions for azure calls: custom entries of plugin permissions. An entry
#   permits every combination of its lists {resources, resourceGroups, verbs}, and of
#   instances if it has this list. An entry that is malformed, or has another key,
#   which may have been meant as a limit, permits nothing and does not affect other
#   entries. Names in Azure are not case-sensitive. Any resource group covers a call
#   that lists over all of them.
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
# description: The parts of the call that an entry does not cover, for explanations.
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

# The list of resource groups shows those with a permitted get.
kind_covered(pattern) if {
	input.capability.resource == "resourcegroups"
	is_string(pattern)
}

verb_covered(pattern) if matches(pattern, input.capability.verb)

# "put" means every change, as in kobs.
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
# description: Whether value matches pattern; "*" matches any sequence of characters.
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
