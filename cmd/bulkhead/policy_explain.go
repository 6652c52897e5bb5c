package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func policyExplainCommand() *cobra.Command {
	var f askFlags
	c := &cobra.Command{
		Use:   "explain USER ACTION [RESOURCE]",
		Short: "Explain why policy allows or denies an action",
		Long: `Ask policy whether USER may do ACTION, and print the rule that decides, the role,
team or entry that permits it, and permissions that almost cover it.

With --config, the command also reports what the host refuses although policy allows
it: a call that the plugin's grants do not cover, and obligations that the host
cannot meet. It warns of a plugin, action, cluster or instance that the host does
not have.

The command does not check: whether the RBAC of a cluster or the permissions in a
cloud allow the call; the decision about the route, if RESOURCE asks about a call;
and what is known only at run time, such as sessions, limits and recordings.
` + askHelp() + `

Exit codes: 0 allowed, 1 denied, refused by the host, or the policy is invalid,
2 bad usage.`,
		Example: `  bulkhead policy explain -c bulkhead.yaml vic@example.com gitops:helm.uninstall
  bulkhead policy explain -c bulkhead.yaml eve@example.com gitops:helm.upgrade dev/shop/releases.helm.sh:web
  bulkhead policy explain -c bulkhead.yaml bob@example.com azure:containerinstances.restart prod/rg1/containerinstances:web
  bulkhead policy explain -c bulkhead.yaml new@example.com gitops:helm.read --unlisted --team payments@example.com`,
		Args: cobra.RangeArgs(2, 3),
	}
	f.add(c)
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		q, err := f.question(args)
		if err != nil {
			return err
		}
		p, d, err := f.open(c.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		config := &server.Config{}
		if f.config != "" {
			if config, err = server.Load(f.config, os.Environ()); err != nil {
				return err
			}
		}
		x := policytool.Explain(c.Context(), p, config.Catalog(), q, d)
		if f.config != "" {
			x.Against(hostView(config, q, x), q)
		}
		if f.json {
			err = printJSON(c.OutOrStdout(), x)
		} else {
			printExplanation(c.OutOrStdout(), x)
		}
		if err == nil && !x.Allow {
			err = &runError{fmt.Errorf("denied: %s", x.Reason.Code)}
		}
		if err == nil && len(x.Refused) > 0 {
			err = &runError{errors.New("allowed by policy, but refused by the host")}
		}
		return err
	}
	return c
}

func printExplanation(out io.Writer, x *policytool.Explanation) {
	answer := "DENIED"
	switch {
	case x.Allow && len(x.Refused) > 0:
		answer = "REFUSED"
	case x.Allow:
		answer = "ALLOWED"
	}
	fmt.Fprintf(out, "%s  %s\n\n%s\n\n", answer, x.Question, x.Sentence)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	for i, s := range x.Refused {
		row(first("the host refuses", i), "%s", s)
	}
	for i, s := range x.Warnings {
		row(first("warning", i), "%s", s)
	}
	row("reason", "%s", x.Reason.Code)
	if x.Error != "" {
		row("error", "%s", strings.ReplaceAll(x.Error, "\n", " "))
	}
	row("roles", "%s", orNobody(x.Roles))
	row("teams", "%s", orNobody(x.Teams))
	for i, s := range x.Ignored {
		row(first("ignored", i), "%s", s)
	}
	for i, s := range x.Person.Problems {
		row(first("left out", i), "%s", s)
	}
	if n := x.Person.Others; n > 0 {
		row(first("left out", len(x.Person.Problems)), "%d entries or parts of entries of others; bulkhead directory check lists them", n)
	}
	if len(x.Obligations) > 0 {
		text, _ := json.Marshal(x.Obligations) // it was JSON before
		row("conditions", "%s", text)
	}
	count, needReason := 0, 0
	for _, l := range x.Granted {
		name, n := "permitted by", &count
		if !x.Counts(&l) {
			name, n = "with a reason", &needReason
		}
		row(first(name, *n), "%s (%s): %s %s%s", l.From, l.At, l.Kind, l.Text, limit(&l))
		*n++
	}
	near := x.Near
	if x.Allow {
		near = nil // not of interest
	}
	for i, l := range near {
		row(first("almost covers", i), "%s (%s): %s %s; does not cover the %s%s", l.From, l.At, l.Kind, l.Text, strings.Join(l.Misses, ", "), limit(&l))
	}
	if len(near) > 0 && x.Farther > 0 {
		row("", "and %d more", x.Farther)
	}
	for i, p := range x.Rules {
		row(first("rules", i), "%s  %s", p.At, p.Text)
	}
	if !x.Allow {
		// The sentence and the lines above say what the shipped rules lack.
		own := slices.DeleteFunc(slices.Clone(x.Unmet), func(p policytool.Place) bool { return strings.HasPrefix(p.At, "shipped/") })
		for i, p := range own {
			note := ""
			if what, negated := strings.CutPrefix(p.Text, "not "); negated {
				note = "   (since this holds: " + what + ")"
			}
			row(first("did not hold", i), "%s  %s%s", p.At, p.Text, note)
		}
	}
	w.Flush()
}

// first is name for the first of several lines, and nothing for the others.
func first(name string, i int) string {
	if i > 0 {
		return ""
	}
	return name
}

// limit says when the membership that a permission comes from ends, if it does,
// and whether the permission needs a reason.
func limit(l *policytool.GrantLine) (s string) {
	switch at := l.Until.Format(time.RFC3339); {
	case l.Until.IsZero():
	case l.Ended():
		s = " (the membership ended at " + at + ")"
	default:
		s = " (until " + at + ")"
	}
	if l.NeedsReason {
		s += " (with a stated reason)"
	}
	return s
}

func orNobody(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// hostView returns what a host with this configuration has, as far as q concerns it.
// The only file that it opens is the plugin's, for its manifest; if that fails, it
// adds a warning to x.
func hostView(config *server.Config, q *host.Question, x *policytool.Explanation) *policytool.HostView {
	v := &policytool.HostView{}
	i := slices.IndexFunc(config.Plugins, func(p plugin.Config) bool { return p.Name == q.Route.Plugin })
	if i >= 0 {
		known, err := plugin.ReadView(config.Catalog(), config.Plugins[i])
		if err != nil {
			x.Warnings = append(x.Warnings, fmt.Sprintf("plugins[%d]: %v; its actions and grants are not checked", i, err))
		}
		v.Routes, v.Check = known.Routes, known.Check
	}
	for _, p := range config.Plugins {
		v.Plugins = append(v.Plugins, p.Name)
	}
	for _, c := range config.Clusters {
		v.Clusters = append(v.Clusters, c.Name)
	}
	return v
}
