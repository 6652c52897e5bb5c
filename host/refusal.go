package host

// Refusal explains a code, which is the detail of an error or the reason of a decision.
type Refusal struct {
	Code string
	Why  string // one sentence
	Cure string // what to do, and who
}

// refusals are the codes of the host and of the shipped rules. An operator's own rules have
// further ones.
var refusals = []Refusal{
	{"no_plugin", "No role or team of the user has this plugin; a plugin that does not exist looks the same.", "Operator: add the plugin and the action to a role of the user."},
	{"no_action", "The user has the plugin, but not this action.", "Operator: add the action to `actions` of a role of the user."},
	{"no_resource", "No permission of the user covers the cluster, namespace, resource and verb of a capability call, or the route's target.", "Operator: add them to `resources` of a role of the user."},
	{"no_rule", "The shipped rules do not know the capability.", "Operator: permit it in rules of your own."},
	{"prohibited", "A prohibition of the shipped rules, such as Secrets through `kube`; no role lifts it.", "Author: use the capability that is meant for it, such as `exec` for a terminal."},
	{"reason_required", "The permission counts only for requests that state a reason.", "User: send the header `X-Bulkhead-Reason`; a console asks for it and tries again."},
	{"denied", "Policy denied and gave no reason.", "Operator: `bulkhead policy explain -c bulkhead.yaml USER PLUGIN:ACTION`."},
	{"nobody", "The request has no user, or policy does not know who the user is.", "User: sign in. Operator: list the user in the directory, if it must."},
	{"policy_error", "Policy failed: an error, a malformed document, or no answer in time.", "Operator: read the log at `decision`, and run `bulkhead policy test`."},
	{"decision_log_full", "The decision cannot be recorded, and the configuration denies then.", "Operator: make the sink of the decision log answer, or give it room."},
	{"read_route", "A route that is declared to read made a call that changes something.", "Author: give the route `\"mutates\": true`, a method other than GET, and an action that does not end in `.read`."},
	{"obligation_not_supported", "Policy allows this on a condition that cannot be met here, such as recording a plugin's own socket.", "Operator: leave the condition out for this action."},
	{"not_redactable", "Values must be removed from the answer, but it is not JSON, or comes as events.", "Author: answer with JSON, and list instead of watching. Operator: leave `redact` out for this call."},
	{"other_namespace", "Policy limits the request to other namespaces than the call's.", "User: choose a permitted namespace. Operator: add it to the role."},
	{"other_resource_group", "Policy limits the request to other resource groups than the call's.", "User: choose a permitted one. Operator: add it to the role."},
	{"policy_rejected", "A policy of Kubewarden that the operator has named at `helm.policies` rejects an object of the change; the message has its words.", "User: change the values or the chart. Operator: the policy's settings, at the plugin's `config`."},
	{"policy_mutates", "A policy of Kubewarden at `helm.policies` would change an object, which is not possible.", "User: set in the chart's values what the policy wants. Operator: use a policy that only validates."},
	{"consent_required", "The version may do more than the one that serves.", "Operator: read the difference in the answer, and repeat with consent, or `bulkhead plugin approve`."},
}

// Refusals returns the codes that the host and the shipped rules use, with their cures.
func Refusals() []Refusal { return append([]Refusal(nil), refusals...) }

// RefusalOf explains a code; ok is false for one of an operator's own rules.
func RefusalOf(code string) (_ Refusal, ok bool) {
	for _, r := range refusals {
		if r.Code == code {
			return r, true
		}
	}
	return Refusal{}, false
}

// kindCures is what to do about an error of each kind that says nothing more.
var kindCures = [...]string{
	Internal:        "Operator: the log has the reason, under the answer's `requestId`.",
	Invalid:         "Client: correct what the message names. 426: open a websocket.",
	Unauthenticated: "Client: sign in again, and keep unsent input.",
	Forbidden:       "See the codes below for the detail.",
	NotFound:        "Client: check the name. It may exist, for users who may see it.",
	Conflict:        "Client: read the object again, and repeat the change on it.",
	TooLarge:        "Client: send or ask for less. Operator: `bodyBytes` in the plugin's limits, up to 8 MiB.",
	Unprocessable:   "Client: correct the content that the message names.",
	Limited:         "Client: wait for `Retry-After`. Operator: `limits.rates`, or the plugin's limits.",
	Upstream:        "Operator: the service failed, or the plugin; the log has the reason under `requestId`.",
	Unavailable:     "Client: try again after `Retry-After`. Operator: `/readyz` names what is missing.",
	Timeout:         "Client: ask for less. Operator: `timeout` in the plugin's limits. Author: fewer and narrower capability calls.",
}

// Cure says what to do about an error of this kind, and who.
func (k Kind) Cure() string {
	if int(k) < len(kindCures) {
		return kindCures[k]
	}
	return kindCures[Internal]
}
