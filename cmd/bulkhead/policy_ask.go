package main

import (
	"context"
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
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/seed-a3fb47d6/bulkhead/policies"
	"github.com/spf13/cobra"
)

// askFlags put together a question and the directory to ask it over.
type askFlags struct {
	policyFlags
	directory, policy, resource, reason string
	capability, verb                    string
	roles, teams                        []string
	unlisted                            bool
}

func (f *askFlags) add(c *cobra.Command) {
	f.policyFlags.add(c)
	c.Flags().Lookup("config").Usage = "the host's configuration file (default: bulkhead.yaml, if it is there and needed)"
	c.Flags().StringVarP(&f.policy, "policy", "p", "", "directory or bundle file, instead of the configuration's policy")
	c.Flags().StringVarP(&f.directory, "directory", "d", "", "directory of users, teams and roles, instead of the configuration's")
	c.Flags().StringVar(&f.capability, "capability", "", "azure, exec, helm or kube, if RESOURCE does not tell")
	c.Flags().StringVar(&f.verb, "verb", "", "what is done to RESOURCE, if ACTION does not tell")
	c.Flags().StringVar(&f.reason, "reason", "", "the reason that the person states")
	c.Flags().StringArrayVar(&f.roles, "role", nil, "a role that the identity provider asserts of the person; repeatable")
	c.Flags().StringArrayVar(&f.teams, "team", nil, "the id of a team that it asserts; repeatable")
	c.Flags().BoolVar(&f.unlisted, "unlisted", false, "people are admitted whom the directory does not list")
}

const askHelp = `
ACTION is PLUGIN:NAME, such as gitops:helm.upgrade. Without RESOURCE the question
is about the route alone. With it, it is about what the route's plugin then
reaches for:

  dev/shop/pods:web               kube: CLUSTER/NAMESPACE/RESOURCE[:NAME]
  dev/shop/pods/exec:web          exec: a terminal
  dev/shop/releases.helm.sh:web   helm: a release
  prod/rg1/containerinstances:web azure: INSTANCE/RESOURCEGROUP/KIND[:NAME]; KIND is one of
                                  containerinstances, kubernetesservices,
                                  virtualmachinescalesets, virtualmachines,
                                  costmanagement, monitor, resourcegroups

An empty NAMESPACE or RESOURCEGROUP means all of them. The verb is what ACTION ends
with for helm and azure ("read" is list, and get); create for exec; for kube it is
get, and list without NAME; or what --verb says.

Without --config the configuration is ./bulkhead.yaml, if there is one and not both
--policy and --directory are given. Users, teams and roles are those of its
directory.files, or of --directory; custom resources in clusters are not looked at.
What an identity provider asserts is for --role, --team and --unlisted to say.`

// open brings policy and directory.
func (f *askFlags) open(ctx context.Context) (*authz.Policy, *directory.Directory, error) {
	const usual = "bulkhead.yaml"
	if _, err := os.Stat(usual); err == nil && f.config == "" && (f.policy == "" || f.directory == "") {
		f.config = usual
	}
	if f.directory == "" && f.config == "" {
		return nil, nil, errors.New("who may do what is not known: there is no " + usual + " here; give --config or --directory")
	}
	p, err := f.openPolicy(ctx)
	if err != nil {
		return nil, nil, err
	}
	d, _, err := openDirectory(ctx, f.directory, f.config)
	return p, d, err
}

func (f *askFlags) openPolicy(ctx context.Context) (*authz.Policy, error) {
	if f.policy != "" {
		return readPolicy(ctx, f.policy)
	}
	return f.policyFlags.open(ctx, nil)
}

// openDirectory opens the directory at path or, if that is empty, the one that
// the host's configuration names, and returns its path.
func openDirectory(ctx context.Context, path, config string) (*directory.Directory, string, error) {
	if path == "" {
		c, err := server.Load(config, os.Environ())
		if err != nil {
			return nil, "", err
		}
		if path = c.Directory.Files; path == "" {
			return nil, "", errors.New("directory.files is not in the configuration, and clusters are not asked; give --directory")
		}
	}
	d, err := directory.Open(ctx, directory.Config{Dir: path, Base: policies.Roles()})
	return d, path, err
}

// question makes one of the arguments USER ACTION [RESOURCE].
func (f *askFlags) question(args []string) (*host.Question, error) {
	a := authz.Ask{
		User: args[0], Action: args[1], Capability: f.capability, Verb: f.verb, Reason: f.reason,
		Roles: f.roles, Teams: f.teams, Unlisted: f.unlisted,
	}
	if len(args) > 2 {
		a.Resource = args[2]
	}
	return a.Question()
}

func policyExplainCommand() *cobra.Command {
	var f askFlags
	c := &cobra.Command{
		Use:   "explain USER ACTION [RESOURCE]",
		Short: "Say why somebody may or may not do something",
		Long: `Say whether USER may do ACTION, by which rule, from which role, team or entry,
and what comes near without covering it. It is the policy's answer.

With --config it is said, too, what the host refuses although policy allows it: a
call that the plugin's grants do not cover, and obligations that cannot be met
there; and which plugin, action, cluster or instance the host does not have. What
is not looked at: whether the cluster's RBAC, or Azure, lets the person or the host
do it; the decision about the plugin's route where RESOURCE asks about a call; and
what is only known while it runs, such as sessions, limits and recordings.
` + askHelp + `

Exit codes: 0 they may, 1 they may not, the host refuses or the policy is at fault,
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
		x := p.Explain(c.Context(), q, d)
		if f.config != "" {
			config, err := server.Load(f.config, os.Environ())
			if err != nil {
				return err
			}
			within(config, q, x)
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
			err = &runError{errors.New("allowed by policy, and refused by the host")}
		}
		return err
	}
	return c
}

func printExplanation(out io.Writer, x *authz.Explanation) {
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
	for i, l := range x.Near {
		row(first("not covering", i), "%s (%s): %s %s; misses the %s%s", l.From, l.At, l.Kind, l.Text, strings.Join(l.Misses, ", "), limit(&l))
	}
	if x.Farther > 0 {
		row("", "and %d more", x.Farther)
	}
	for i, p := range x.Rules {
		row(first("rules", i), "%s  %s", p.At, p.Text)
	}
	if !x.Allow {
		// What the shipped rules lack is in the sentence and the lines above.
		own := slices.DeleteFunc(slices.Clone(x.Unmet), func(p authz.Place) bool { return strings.HasPrefix(p.At, "shipped/") })
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
func limit(l *authz.GrantLine) (s string) {
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

func policyBenchCommand() *cobra.Command {
	var f askFlags
	var duration time.Duration
	c := &cobra.Command{
		Use:   "bench USER ACTION [RESOURCE]",
		Short: "Measure how long a decision takes, evaluated and cached",
		Long: `Measure how long the decision about a question takes, evaluated each time and
cached, with matching the person's permissions included.
` + askHelp,
		Args: cobra.RangeArgs(2, 3),
	}
	f.add(c)
	c.Flags().DurationVar(&duration, "for", 2*time.Second, "how long to measure each")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if duration <= 0 {
			return fmt.Errorf("--for %v is not more than 0", duration)
		}
		q, err := f.question(args)
		if err != nil {
			return err
		}
		p, d, err := f.open(c.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		r := p.Bench(c.Context(), q, d, duration)
		if f.json {
			return printJSON(c.OutOrStdout(), r)
		}
		fmt.Fprintf(c.OutOrStdout(), "evaluated  p50 %v, p99 %v, %d times\n", r.EvaluatedP50, r.EvaluatedP99, r.Evaluated)
		if r.Cacheable {
			fmt.Fprintf(c.OutOrStdout(), "cached     mean %v, %d times\n", r.CachedMean, r.Cached)
		} else {
			fmt.Fprintln(c.OutOrStdout(), "cached     never; bulkhead policy check says why")
		}
		return nil
	}
	return c
}

func policyDiffCommand() *cobra.Command {
	var f policyFlags
	var log, dir string
	c := &cobra.Command{
		Use:   "diff OLD NEW --log decisions.jsonl",
		Short: "Replay recorded decisions against another policy or directory and list what would change",
		Long: `Replay the decisions of a decision log by the policies OLD and NEW, each a
directory or a bundle file, and list what would change. "shipped" stands for the
shipped rules, "log" as OLD for what was decided when it was recorded. The log may
be JSON lines or arrays, gzipped or not, of several files one after another; - is
standard input. A record has at most 4 MiB.

Permissions are those recorded, so that only the change of policy counts. With
--directory, or --config for its directory.files, they are matched again with those
users, teams and roles, for NEW and for OLD unless it is "log": so "log" against
the policy that decided says what a change of data changes. A policy that reads
data.directory needs one of them.

Exit codes: 0 nothing would change; 1 something would, no decision could be replayed
or a policy is at fault; 2 bad usage, or what is to be the log cannot be read as one.`,
		Example: `  bulkhead policy diff log ./policies-next --log decisions.jsonl
  bulkhead policy diff log ./policies --log decisions.jsonl --directory ./directory-next
  cat decisions.jsonl.1 decisions.jsonl | bulkhead policy diff ./policies ./policies-next --log -`,
		Args: cobra.ExactArgs(2),
	}
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
	c.Flags().StringVarP(&log, "log", "l", "", "decision log to replay; - is standard input (required)")
	c.Flags().StringVarP(&dir, "directory", "d", "", "directory of users, teams and roles to match permissions again")
	c.Flags().StringVarP(&f.config, "config", "c", "", "the host's configuration file, for its directory")
	_ = c.MarkFlagRequired("log")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		var before *authz.Policy
		if args[0] != "log" {
			if before, err = named(c.Context(), args[0]); err != nil {
				return err
			}
		}
		after, err := named(c.Context(), args[1])
		if err != nil {
			return err
		}
		var over *authz.Over
		if dir != "" || f.config != "" {
			d, path, err := openDirectory(c.Context(), dir, f.config)
			if err != nil {
				return err
			}
			defer d.Close()
			over = &authz.Over{Directory: d, Name: path}
		}
		in, err := openInput(c, log)
		if err != nil {
			return err
		}
		defer in.Close()
		report, err := authz.Diff(c.Context(), before, after, over, in)
		if err != nil {
			return err
		}
		if f.json {
			err = printJSON(c.OutOrStdout(), report)
		} else {
			printDiff(c.OutOrStdout(), report)
		}
		if err == nil && report.Changed > 0 {
			err = &runError{fmt.Errorf("%d decisions would change", report.Changed)}
		}
		if err == nil && report.Decisions == report.Masked {
			err = &runError{fmt.Errorf("%s: no decision in it could be replayed, so that nothing is known", log)}
		}
		return err
	}
	return c
}

// named compiles a policy of diff's arguments.
func named(ctx context.Context, policy string) (*authz.Policy, error) {
	if policy == "shipped" {
		p, err := authz.ReadPolicy(ctx, "")
		return p, atFault(err)
	}
	return readPolicy(ctx, policy)
}

func printDiff(out io.Writer, r *authz.DiffReport) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, d := range r.Changes {
		what := d.Action
		if d.Capability != "" {
			what += ", " + d.Capability
		}
		fmt.Fprintf(w, "%s\t%d ×\t%s\t%s\t%s → %s\n", d.What, d.Count, d.User, what, d.Old, d.New)
	}
	w.Flush()
	fmt.Fprintf(out, "%d decisions, %d different questions: %d decisions would change\n", r.Decisions, r.Questions, r.Changed)
	if r.Directory == "" {
		fmt.Fprintln(out, "permissions are those recorded")
	} else {
		fmt.Fprintf(out, "permissions are matched again, over %s\n", r.Directory)
	}
	if r.Untold > 0 {
		fmt.Fprintf(out, "not listed: %d that are too different from one another\n", r.Untold)
	}
	var left []string
	if r.Masked > 0 {
		left = append(left, fmt.Sprintf("%d lack what is needed to decide again (masked)", r.Masked))
	}
	if r.Other > 0 {
		left = append(left, fmt.Sprintf("%d are no decisions of this kind", r.Other))
	}
	if len(left) > 0 {
		fmt.Fprintf(out, "not replayed: %s\n", strings.Join(slices.Compact(left), ", "))
	}
}
