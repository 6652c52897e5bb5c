package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/directory/kobs"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

func directoryCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "directory", Short: "Check, import and install users, teams and roles",
		Long: `Check, import and install users, teams and roles. host/directory/README.md says
how to write them, as files or as custom resources.`,
	}
	c.AddCommand(checkDirectoryCommand(), crdsCommand(), importCommand())
	group(c)
	return c
}

func crdsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "crds", Args: cobra.NoArgs,
		Short:   "Print the CustomResourceDefinitions of User, Team and Role",
		Example: "  bulkhead directory crds | kubectl apply -f -",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := c.OutOrStdout().Write(directory.CRDs())
			return err
		},
	}
}

func checkDirectoryCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Check a directory of files and report what the host would leave out",
		Long: `Check a directory of files, and report which entries, or parts of entries, the
host would leave out, and when memberships end. DIR defaults to directory.files of the
configuration. Custom resources are not read; a running host reports them at
/api/admin/directory.

Exit code 1 if anything would be left out; a membership that has ended does not count.`,
		Args: cobra.MaximumNArgs(1),
	}
	file, asJSON := configFlag(c), c.Flags().Bool("json", false, "print the report as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		dir := ""
		if len(args) == 1 {
			dir = args[0]
		} else {
			config, err := server.Load(*file, os.Environ())
			if err != nil {
				return err
			}
			if dir = config.Directory.Files; dir == "" {
				return errors.New("directory.files is not set in the configuration; name a directory")
			}
		}
		r, err := directory.Check(dir, policies.Roles())
		if err != nil {
			return err
		}
		out := c.OutOrStdout()
		if *asJSON {
			err = json.NewEncoder(out).Encode(r)
		} else {
			for _, p := range r.Problems {
				fmt.Fprintln(out, p)
			}
			for _, l := range r.Limits {
				word := "until"
				if l.Ended {
					word = "ended at"
				}
				fmt.Fprintf(out, "%s: %s %s %s\n", l.User, l.In, word, l.Until.Format(time.RFC3339))
			}
			_, err = fmt.Fprintf(out, "%d users, %d teams, %d roles, %d problems\n", r.Users, r.Teams, r.Roles, len(r.Problems))
		}
		if err == nil && len(r.Problems) > 0 {
			return &runError{fmt.Errorf("%s: %d entries or parts of entries would be left out", dir, len(r.Problems))}
		}
		return err
	}
	return c
}

func importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import FILE...",
		Short: "Convert the User and Team manifests of kobs",
		Long: `Convert the User and Team manifests of kobs (kobs.io/v1beta1, YAML documents or
lists; "-" is standard input) into directory entries, on standard output. The report
on standard error lists what was not converted and what to review.

Users never get more permissions than they had in kobs:
  - A plugin becomes a plugin permission and the action "PLUGIN:*"; its own
    permissions become "custom". Plugins have the names that the configuration of
    Bulkhead gives them: check these names.
  - The verb get becomes get, list and watch; post becomes create. Entries without
    verbs, which allowed everything in early versions of kobs, get those of --verbs.
  - Resources get their API group, and pods/logs becomes pods/log. pods/exec is
    converted only where all verbs are allowed.
  - kobs only displays the teams of a User, and takes memberships from the proxy's
    header, as auth.proxy and auth.oidc do. --memberships converts the teams of a
    User to memberships.`,
		Example: `  kubectl get users.kobs.io,teams.kobs.io -A -o yaml | bulkhead directory import - > directory/kobs.yaml
  bulkhead directory import kobs/*.yaml --namespace bulkhead | kubectl apply -f -`,
		Args: cobra.MinimumNArgs(1),
	}
	var o kobs.Options
	c.Flags().BoolVar(&o.Memberships, "memberships", false, "convert the teams of a User to memberships")
	c.Flags().StringVar(&o.Namespace, "namespace", "", "namespace of the entries, for kubectl apply")
	c.Flags().StringSliceVar(&o.Verbs, "verbs", []string{"get", "list", "watch"}, "verbs for resources that list none")
	asJSON := c.Flags().Bool("json", false, "print the report as JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		var inputs []kobs.Input
		for _, name := range args {
			in, err := readInput(c.InOrStdin(), name)
			if err != nil {
				return err
			}
			inputs = append(inputs, in)
		}
		r, err := kobs.Convert(inputs, o)
		if err != nil {
			return err
		}
		if _, err := c.OutOrStdout().Write(r.YAML); err != nil {
			return &runError{err}
		}
		// The host's own check of the result.
		check, err := directory.CheckText("result", r.YAML, policies.Roles())
		if err != nil {
			return err
		}
		if err := reportImport(c.ErrOrStderr(), r, check, *asJSON); err != nil {
			return &runError{err}
		}
		if r.Users+r.Teams == 0 {
			return &runError{errors.New("the input contains no User or Team of kobs.io/v1beta1")}
		}
		return nil
	}
	return c
}

const maxImport = 64 << 20

func readInput(stdin io.Reader, name string) (kobs.Input, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return kobs.Input{}, err
		}
		defer f.Close()
		from = f
	}
	text, err := io.ReadAll(io.LimitReader(from, maxImport+1))
	if err == nil && len(text) > maxImport {
		err = fmt.Errorf("%s is over %d bytes", name, maxImport)
	}
	return kobs.Input{Name: name, Text: text}, err
}

func reportImport(w io.Writer, r *kobs.Result, check *directory.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]any{"users": r.Users, "teams": r.Teams, "notes": r.Notes, "problems": check.Problems})
	}
	for _, n := range r.Notes {
		word := "review"
		if n.Lost {
			word = "not converted"
		}
		fmt.Fprintf(w, "%s: %s\n", word, n)
	}
	for _, p := range check.Problems {
		fmt.Fprintf(w, "the host would leave out: %s\n", p)
	}
	_, err := fmt.Fprintf(w, "%d users, %d teams converted; %d notes, %d problems\n", r.Users, r.Teams, len(r.Notes), len(check.Problems))
	return err
}
