// Package policytool has tools for writing, understanding and comparing policies:
// questions in words, explanations of decisions, differences between policies, the costs
// of a policy, the duration of a decision, and reports of tests.
//
// It makes no decisions itself: a policy of host/authz makes them, through authz.Policy and
// authz.Trial. The parts of a host beside its policy, such as plugins and grants, are a
// HostView, which the caller fills in.
package policytool
