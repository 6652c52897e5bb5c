package bulkhead.default

# Break-glass: permissions of roles and teams with spec.breakGlass. The host puts them
# into input.break_glass, which is absent if none covers the question. Here they count
# if the user states a reason.

reason_stated if input.reason != ""

permissions_with_reason[kind] := array.concat(input.permissions[kind], list) if some kind, list in input.break_glass

break_glass_permissions := [permission |
	some list in input.break_glass
	some permission in list
]

break_glass_from contains permission.from if some permission in break_glass_permissions

break_glass_reason := {
	"code": "break_glass",
	"args": {"stated": input.reason, "from": break_glass_from},
}

break_glass_groups := [group |
	some from in break_glass_from
	group := concat(":", ["bulkhead", from.kind, from.id])
]

# METADATA
# description: >-
#   The usual obligations, with the groups that count now and the strictest limits of
#   the permissions.
break_glass_obligations := object.union_n([ordinary, with_groups, {"max_session": shortest}, recording]) if {
	ordinary := obligations with input.permissions as permissions_with_reason
}

default with_groups := {}

with_groups := {"impersonate": {"groups": array.concat(impersonation.impersonate.groups, break_glass_groups)}}

shortest := min([[time.parse_duration_ns(permission.max_session), permission.max_session] |
	some permission in break_glass_permissions
])[1]

default recording := {}

recording := {"record": "all"} if {
	records
	some permission in break_glass_permissions
	permission.record == "all"
} else := {"record": "output"} if {
	records
	some permission in break_glass_permissions
	permission.record == "output"
}

# Terminals are what can be recorded.
records if {
	input.capability.name in {"exec", "pods"}
	input.capability.subresource in {"attach", "ephemeralcontainers", "exec"}
}
