package bulkhead.break_glass_test

import data.bulkhead.authz
import data.bulkhead.default_test as base

oncall := {"kind": "role", "id": "oncall"}

sre := {"kind": "team", "id": "sre"}

kept(fields) := object.union({"max_session": "15m0s", "record": "output"}, fields)

behind_glass := {
	"actions": [kept({"from": oncall, "action": "*"})],
	"plugins": [kept({"from": oncall, "name": "*", "custom": []})],
	"resources": [kept({"from": oncall, "clusters": ["*"], "namespaces": ["*"], "resources": ["*"], "verbs": ["*"]})],
}

nothing := {"actions": [], "plugins": [], "resources": []}

# decide asks with the ordinary permissions, those behind glass, and the reason.
decide(question, permissions, glass, reason) := decision if {
	asked := {"permissions": permissions, "break_glass": glass, "reason": reason}
	document := object.union(object.remove(question, ["permissions"]), asked)
	decision := authz.decision with input as document
}

test_without_a_reason_the_glass_holds if {
	decision := decide(base.route_input, nothing, behind_glass, "")
	decision == {"allow": false, "reason": {"code": "reason_required", "args": {"from": {oncall}}}}
}

test_a_reason_breaks_it_and_is_in_the_decision if {
	decision := decide(base.route_input, nothing, behind_glass, "INC-1: shop is down")
	decision == {
		"allow": true,
		"reason": {"code": "break_glass", "args": {"from": {oncall}, "stated": "INC-1: shop is down"}},
		"obligations": {"max_session": "15m0s"},
	}
}

test_a_reason_alone_opens_nothing if {
	decision := decide(base.route_input, nothing, nothing, "please")
	not decision.allow
	without := authz.decision with input as object.union(base.without(base.route_input, "actions"), {"reason": "please"})
	without.reason.code == "no_action"
}

test_ordinary_and_kept_permissions_add_up if {
	question := base.asking(base.pods)
	ordinary := base.without(question, "resources").permissions
	glass := object.union(nothing, {"resources": behind_glass.resources})
	decision := decide(question, ordinary, glass, "why")
	decision.allow
	decision.reason.code == "break_glass"
}

test_who_needs_none_states_none if {
	decision := decide(base.route_input, base.permissions, behind_glass, "")
	decision.reason.code == "permitted"
	decision.obligations == {}
}

test_a_call_acts_with_the_group_that_was_behind_glass if {
	groups := ["bulkhead:role:viewer", "bulkhead:team:payments"]
	more := array.concat(groups, ["bulkhead:role:oncall"])
	question := base.asking(base.pods)
	decide(question, base.permissions, behind_glass, "").obligations.impersonate.groups == groups
	decide(question, base.permissions, behind_glass, "why").obligations.impersonate.groups == more
}

test_terminals_are_recorded_as_the_role_says if {
	every record, want in {"output": {"record": "output"}, "all": {"record": "all"}, "": {}} {
		glass := object.union(behind_glass, {"actions": [kept({"from": oncall, "action": "*", "record": record})]})
		resources := [object.union(p, {"record": record}) | some p in glass.resources]
		plugins := [object.union(p, {"record": record}) | some p in glass.plugins]
		decision := decide(
			base.asking(base.terminal), nothing,
			object.union(glass, {"resources": resources, "plugins": plugins}), "why",
		)
		object.filter(decision.obligations, ["record"]) == want
	}
}

test_the_tightest_condition_counts if {
	glass := {
		"actions": [kept({"from": oncall, "action": "*", "max_session": "2h0m0s"})],
		"plugins": [kept({"from": sre, "name": "*", "custom": [], "max_session": "5m0s"})],
		"resources": [kept({"from": sre, "record": "all", "namespaces": ["*"], "max_session": "45m0s"})],
	}
	decision := decide(base.asking(base.terminal), nothing, glass, "why")
	decision.obligations.max_session == "5m0s"
	decision.obligations.record == "all"
	decision.reason.args.from == {oncall, sre}
}

test_only_terminals_are_recorded if {
	decision := decide(base.asking(base.pods), nothing, behind_glass, "why")
	decision.allow
	not decision.obligations.record
}

test_prohibitions_hold_whatever_the_reason if {
	decision := decide(base.asking(base.call("kube", {"resource": "secrets"})), nothing, behind_glass, "why")
	decision == {"allow": false, "reason": {"code": "prohibited", "args": {"what": "secrets"}}}
}

test_nobody_breaks_glass if {
	question := json.patch(base.route_input, [{"op": "replace", "path": ["principal", "user"], "value": ""}])
	decide(question, nothing, behind_glass, "why").reason.code == "nobody"
}
