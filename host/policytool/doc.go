// Package policytool has the tools with which people write, understand and
// compare policies: a question in words, why it is decided as it is, what a
// change would have changed, what a policy costs, how long a decision takes, and
// reports of tests.
//
// It decides nothing itself: each decision here is made by a policy of
// host/authz, through authz.Policy and authz.Trial. What a host has beside its
// policy, such as plugins and grants, is a HostView that the caller fills in.
package policytool
