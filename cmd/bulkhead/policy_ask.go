package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/seed-a3fb47d6/bulkhead/policies"
	"github.com/spf13/cobra"
)

// askFlags are the flags that describe a question, and the policy and directory that
// answer it.
type askFlags struct {
	policyFlags
	directory, policy, resource, reason string
	capability, verb                    string
	roles, teams                        []string
	unlisted                            bool
}

func (f *askFlags) add(c *cobra.Command) {
	f.policyFlags.add(c)
	c.Flags().Lookup("config").Usage = "the host's configuration file (default: bulkhead.yaml, if it exists and is needed)"
	c.Flags().StringVarP(&f.policy, "policy", "p", "", "directory or bundle file, instead of the configuration's policy")
	c.Flags().StringVarP(&f.directory, "directory", "d", "", "directory of users, teams and roles, instead of the configuration's")
	c.Flags().StringVar(&f.capability, "capability", "", strings.Join(kinds().Names(), " or ")+"; needed if RESOURCE does not imply it")
	c.Flags().StringVar(&f.verb, "verb", "", "what the call does to RESOURCE; needed if ACTION does not imply it")
	c.Flags().StringVar(&f.reason, "reason", "", "the reason that the user states")
	c.Flags().StringArrayVar(&f.roles, "role", nil, "a role that the identity provider asserts for the user; repeatable")
	c.Flags().StringArrayVar(&f.teams, "team", nil, "the id of a team that the identity provider asserts for the user; repeatable")
	c.Flags().BoolVar(&f.unlisted, "unlisted", false, "admit users that the directory does not list")
}

// kinds returns the catalog of all capabilities; it does not depend on configuration.
func kinds() *capability.Catalog { return new(server.Capabilities).Catalog() }

// askHelp returns the help on how to write questions.
func askHelp() string {
	var forms strings.Builder
	for _, k := range kinds().Kinds() {
		fmt.Fprintf(&forms, "\n  %-32s %s: %s\n", k.Words.Example, k.Name, k.Words.Form)
		fmt.Fprintf(&forms, "  %-32s The verb is %s.\n", "", k.Words.Verbs)
	}
	return askHelpStart + forms.String() + askHelpEnd
}

const askHelpStart = `
ACTION is PLUGIN:NAME, such as gitops:pods.read. Without RESOURCE, the question is
about the route alone. With RESOURCE, it is about a capability call that the route's
plugin then makes. An empty NAMESPACE or RESOURCEGROUP means all of them. --verb
replaces the verb, and --capability the capability.
`

const askHelpEnd = `
Without --config, the configuration is ./bulkhead.yaml if it exists, unless both
--policy and --directory are given. Users, teams and roles come from its
directory.files, or from --directory; custom resources in clusters are not read.
--role, --team and --unlisted state what an identity provider asserts.`

// open opens the policy and the directory.
func (f *askFlags) open(ctx context.Context) (*authz.Policy, *directory.Directory, error) {
	const usual = "bulkhead.yaml"
	if _, err := os.Stat(usual); err == nil && f.config == "" && (f.policy == "" || f.directory == "") {
		f.config = usual
	}
	if f.directory == "" && f.config == "" {
		return nil, nil, errors.New("no directory of users to read: the working directory has no " + usual + "; give --config or --directory")
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
			return nil, "", errors.New("directory.files is not set in the configuration, and this command does not read clusters; give --directory")
		}
	}
	d, err := directory.Open(ctx, directory.Config{Dir: path, Base: policies.Roles(), Kinds: kinds()})
	return d, path, err
}

// question parses the arguments USER ACTION [RESOURCE].
func (f *askFlags) question(args []string) (*host.Question, error) {
	a := policytool.Ask{
		User: args[0], Action: args[1], Capability: f.capability, Verb: f.verb, Reason: f.reason,
		Roles: f.roles, Teams: f.teams, Unlisted: f.unlisted,
	}
	if len(args) > 2 {
		a.Resource = args[2]
	}
	return a.Question(kinds())
}

func policyBenchCommand() *cobra.Command {
	var f askFlags
	var duration time.Duration
	c := &cobra.Command{
		Use:   "bench USER ACTION [RESOURCE]",
		Short: "Measure how long a decision takes, evaluated and cached",
		Long: `Measure how long the decision about a question takes, evaluated each time and
cached. Both times include matching the user's permissions.
` + askHelp(),
		Args: cobra.RangeArgs(2, 3),
	}
	f.add(c)
	c.Flags().DurationVar(&duration, "for", 2*time.Second, "how long each measurement lasts")
	c.RunE = func(c *cobra.Command, args []string) (err error) {
		if duration <= 0 {
			return fmt.Errorf("--for %v must be more than 0", duration)
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
		r := policytool.Bench(c.Context(), p, q, d, duration)
		if f.json {
			return printJSON(c.OutOrStdout(), r)
		}
		fmt.Fprintf(c.OutOrStdout(), "evaluated  p50 %v, p99 %v, %d times\n", r.EvaluatedP50, r.EvaluatedP99, r.Evaluated)
		if r.Cacheable {
			fmt.Fprintf(c.OutOrStdout(), "cached     mean %v, %d times\n", r.CachedMean, r.Cached)
		} else {
			fmt.Fprintln(c.OutOrStdout(), "cached     never; bulkhead policy check gives the reason")
		}
		return nil
	}
	return c
}
