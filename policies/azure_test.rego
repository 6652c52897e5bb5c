package bulkhead.azure_test

import data.bulkhead.authz
import data.bulkhead.default as shipped
import data.bulkhead.default_test as base

ops := {"kind": "team", "id": "ops"}

ask(custom, fields) := decision if {
	permissions := object.union(base.permissions, {"plugins": [{"from": ops, "name": "azure", "custom": custom}]})
	asked := base.asking(base.call("azure", object.union(
		{"resource": "containerinstances", "resourceGroup": "rg1", "cluster": "", "namespace": "", "instance": "prod"},
		fields,
	)))
	decision := authz.decision with input as object.union(asked, {"permissions": permissions})
}

read_rg1 := {"resources": ["containerinstances"], "resourceGroups": ["RG1"], "verbs": ["get"]}

test_a_triple_allows_what_it_says if {
	decision := ask([read_rg1], {})
	decision.allow
	decision.obligations == {}
}

test_a_triple_allows_nothing_else if {
	every fields in [
		{"resource": "kubernetesservices"},
		{"resourceGroup": "rg2"},
		{"verb": "put"},
		{"resourceGroup": ""},
	] {
		decision := ask([read_rg1], fields)
		not decision.allow
		decision.reason.code == "no_resource"
	}
}

test_no_triple_allows_nothing if not ask([], {}).allow

test_patterns_and_wildcards if {
	ask([{"resources": ["*"], "resourceGroups": ["*"], "verbs": ["*"]}], {}).allow
	ask([{"resources": ["*"], "resourceGroups": ["rg*"], "verbs": ["get"]}], {}).allow
	ask([{"resources": ["container*"], "resourceGroups": ["*1"], "verbs": ["g*t"]}], {}).allow
	not ask([{"resources": ["*"], "resourceGroups": ["shop-*"], "verbs": ["get"]}], {}).allow
}

test_only_the_star_is_special_in_a_pattern if {
	every pattern in ["rg?*", "rg[12]*", "{rg1,rg2}*", "rg.*"] {
		not ask([{"resources": ["*"], "resourceGroups": [pattern], "verbs": ["get"]}], {}).allow
	}
}

test_lists_do_not_mix_between_triples if {
	halves := [
		{"resources": ["containerinstances"], "resourceGroups": ["rg2"], "verbs": ["get"]},
		{"resources": ["monitor"], "resourceGroups": ["rg1"], "verbs": ["get"]},
	]
	not ask(halves, {}).allow
}

test_a_malformed_triple_hides_no_other if {
	every bad in [
		null, 7, "get", [], {},
		{"resources": ["*"]},
		{"resources": "*", "resourceGroups": "*", "verbs": "*"},
		{"resources": [7], "resourceGroups": [null], "verbs": [{}]},
		{"resources": ["*"], "resourceGroups": {"a": {}}, "verbs": ["get"]},
	] {
		not ask([bad], {}).allow
		ask([bad, read_rg1], {}).allow
		ask([read_rg1, bad], {}).allow
		not ask([bad], {"spans": true, "resourceGroup": ""}).allow
	}
}

test_a_list_over_all_groups_shows_those_of_the_triples if {
	triples := [
		read_rg1,
		{"resources": ["*"], "resourceGroups": ["shop-*", 7], "verbs": ["get"]},
		{"resources": ["monitor"], "resourceGroups": ["secret"], "verbs": ["get"]},
	]
	decision := ask(triples, {"spans": true, "resourceGroup": ""})
	decision.allow
	decision.obligations == {"resource_groups": ["RG1", "shop-*"]}
}

test_who_may_see_all_groups_is_not_narrowed if {
	triples := [read_rg1, {"resources": ["*"], "resourceGroups": ["*"], "verbs": ["*"]}]
	ask(triples, {"spans": true, "resourceGroup": ""}).obligations == {}
}

test_a_triple_may_name_instances if {
	here := object.union(read_rg1, {"instances": ["PROD"]})
	ask([here], {}).allow
	not ask([here], {"instance": "dev"}).allow
	ask([object.union(read_rg1, {"instances": ["d*", "p*"]})], {}).allow
	every bad in [[], "prod", null, [null], {"a": "prod"}] {
		not ask([object.union(read_rg1, {"instances": bad})], {"instance": "dev"}).allow
	}
}

test_put_is_every_change_and_no_read if {
	change := {"resources": ["*"], "resourceGroups": ["rg1"], "verbs": ["put"]}
	not ask([change], {}).allow
	not ask([object.union(change, {"verbs": ["restart"]})], {"verb": "stop"}).allow
	every verb in ["restart", "start", "stop"] {
		ask([change], {"verb": verb}).allow
		not ask([read_rg1], {"verb": verb}).allow
	}
}

test_groups_are_listed_where_something_may_be_seen if {
	asked := {"resource": "resourcegroups", "resourceGroup": "", "spans": true}
	triples := [
		read_rg1,
		{"resources": ["monitor"], "resourceGroups": ["rg2"], "verbs": ["*"]},
		{"resources": ["*"], "resourceGroups": ["rg3"], "verbs": ["put"]},
		{"resources": ["*"], "resourceGroups": ["rg4"], "verbs": ["get"], "instances": ["dev"]},
		{"resources": [7], "resourceGroups": ["rg5"], "verbs": ["get"]},
	]
	ask(triples, asked).obligations == {"resource_groups": ["RG1", "rg2"]}
}

test_costs_and_metrics_obey_the_triple if {
	every kind in ["costmanagement", "monitor"] {
		not ask([read_rg1], {"resource": kind}).allow
		ask([object.union(read_rg1, {"resources": [kind]})], {"resource": kind}).allow
	}
	over_all := {"resource": "costmanagement", "resourceGroup": "", "spans": true}
	ask([object.union(read_rg1, {"resources": ["costmanagement"]})], over_all).obligations == {"resource_groups": ["RG1"]}
}

test_an_explanation_names_what_an_entry_misses if {
	fields := {"resource": "containerinstances", "resourceGroup": "rg1", "instance": "prod"}
	question := base.asking(base.call("azure", fields))
	every example in [
		[read_rg1, []],
		[object.union(read_rg1, {"verbs": ["put"], "instances": ["dev"]}), ["verb", "instance"]],
		[object.union(read_rg1, {"resources": ["monitor"], "resourceGroups": ["rg2"]}), ["resource", "resource group"]],
		["get", ["resource", "verb", "resource group", "instance"]],
		[object.union(read_rg1, {"instance": ["dev"]}), [`meaning of the key "instance"`]],
	] {
		misses := shipped.azure_misses(example[0]) with input as question
		misses == example[1]
	}
}

# Origin: kobs looked at teams in turn and gave up at one that it could not read.
test_teams_add_up_in_whatever_order if {
	team_a := {"resources": ["containerinstances"], "resourceGroups": ["rg1"], "verbs": ["get"]}
	team_b := {"resources": ["containerinstances"], "resourceGroups": ["rg2"], "verbs": ["*"]}
	broken := {"resources": "containerinstances", "resourceGroups": 3}
	every triples in [
		[team_a, team_b, broken], [team_a, broken, team_b], [team_b, team_a, broken],
		[team_b, broken, team_a], [broken, team_a, team_b], [broken, team_b, team_a],
	] {
		ask(triples, {"spans": true, "resourceGroup": ""}).obligations == {"resource_groups": ["rg1", "rg2"]}
		not ask(triples, {"verb": "restart"}).allow
		ask(triples, {"verb": "restart", "resourceGroup": "rg2"}).allow
	}
}

# A misspelt "instances" must not count for all of them.
test_an_entry_with_an_unknown_key_allows_nothing if {
	misspelt := object.union(read_rg1, {"instance": ["dev"]})
	not ask([misspelt], {"instance": "prod"}).allow
	ask([misspelt, read_rg1], {"instance": "prod"}).allow
}
