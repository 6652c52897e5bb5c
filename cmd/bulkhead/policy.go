package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Write, test, understand and compare policies",
		Long: `Write, test, understand and compare policies.

Each command takes a POLICY: a directory of *.rego files or an OPA bundle in a
file. It is compiled with the shipped rules, as the host does it. Without POLICY
and with --config, it is the one of the host's configuration, from wherever that
says, its signature verified. With neither, it is the shipped rules alone.

Exit codes: 0 done, 1 the policy is at fault or its answer is no, 2 bad usage.`,
	}
	c.AddCommand(policyTestCommand(), policyCheckCommand(), policyFmtCommand(), policyEvalCommand(),
		policyExplainCommand(), policyBenchCommand(), policyDiffCommand(), policyBuildCommand())
	group(c)
	return c
}

// policyFlags are what several commands share.
type policyFlags struct {
	config string
	json   bool
}

func (f *policyFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", "", "the host's configuration file, for its policy")
	c.Flags().BoolVar(&f.json, "json", false, "print JSON")
}

// open compiles the policy that args or the configuration name.
func (f *policyFlags) open(ctx context.Context, args []string) (*authz.Policy, error) {
	switch {
	case len(args) > 0 && args[0] != "":
		p, err := authz.ReadPolicy(ctx, args[0])
		return p, atFault(err)
	case f.config == "":
		p, err := authz.ReadPolicy(ctx, "")
		return p, atFault(err)
	}
	config, err := server.Load(f.config, os.Environ())
	if err != nil {
		return nil, err
	}
	p, err := authz.LoadPolicy(ctx, config.Policy.Source)
	return p, atFault(err)
}

// atFault tells what is wrong with a policy from a path that is not there.
func atFault(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &runError{err}
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func policyTestCommand() *cobra.Command {
	var f policyFlags
	var o authz.TestOptions
	var verbose bool
	c := &cobra.Command{
		Use:   "test [POLICY]",
		Short: "Run the policy's tests, as the host does before it publishes it",
		Long: `Run the rules named test_… in the policy's files *_test.rego, compiled with the
shipped rules, as the host does before it publishes the policy. What print says
is shown for tests that fail, and with -v for all.`,
		Example: "  bulkhead policy test ./policies --coverage",
		Args:    cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&o.Run, "run", "r", "", "run only tests whose name matches this regular expression")
	c.Flags().BoolVar(&o.Coverage, "coverage", false, "say which lines no test reaches")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list tests that pass, too")
	c.RunE = func(c *cobra.Command, args []string) error {
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		report, err := p.Test(c.Context(), o)
		if err != nil {
			return &runError{err}
		}
		if f.json {
			err = printJSON(c.OutOrStdout(), report)
		} else {
			printTests(c.OutOrStdout(), report, verbose)
		}
		if err == nil && report.Failed > 0 {
			err = &runError{fmt.Errorf("%d of %d tests failed", report.Failed, len(report.Results))}
		}
		return err
	}
	return c
}

func printTests(w io.Writer, report *authz.TestReport, verbose bool) {
	for i := range report.Results {
		r := &report.Results[i]
		word := "PASS"
		switch {
		case r.Skipped:
			word = "SKIP"
		case r.Failed():
			word = "FAIL"
		case !verbose:
			continue
		}
		fmt.Fprintf(w, "%s  %s\n", word, r)
		for line := range strings.Lines(r.Output) {
			fmt.Fprintf(w, "      %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	if report.Coverage != nil {
		for name, file := range report.Coverage.Files {
			for _, gap := range file.NotCovered {
				fmt.Fprintf(w, "%s:%d: not reached, to line %d\n", name, gap.Start.Row, gap.End.Row)
			}
		}
		fmt.Fprintf(w, "coverage of the policy's files: %.0f %%\n", coverage(report))
	}
	fmt.Fprintf(w, "%d tests, %d failed\n", len(report.Results), report.Failed)
}

// coverage counts lines that have something to reach.
func coverage(report *authz.TestReport) float64 {
	reached, all := 0, 0
	for _, file := range report.Coverage.Files {
		reached += file.CoveredLines
		all += file.CoveredLines + file.NotCoveredLines
	}
	if all == 0 {
		return 100
	}
	return 100 * float64(reached) / float64(all)
}

func policyCheckCommand() *cobra.Command {
	var f policyFlags
	var strict, capabilities bool
	c := &cobra.Command{
		Use:   "check [POLICY]",
		Short: "Compile the policy as the host does, and warn of what costs",
		Long: `Compile the policy with the shipped rules, as the host does, and warn of what
makes deciding slow:

  unindexed  rules that are all tried for each question, because none compares a
             part of the input with a constant
  scan       going through all teams, users or roles
  directory  reading data.directory, any change of which ends cached decisions
  uncached   functions that keep decisions from being cached, such as the clock
  per_login  reading the login, which makes each login's decisions its own
  per_object reading names of objects, or the whole of route, resource or
             capability, which makes the decisions about each object its own
  strict     what OPA's strict mode refuses, such as unused imports`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().BoolVar(&strict, "strict", false, "warnings are failures (exit code 1)")
	c.Flags().BoolVar(&capabilities, "capabilities", false, "print what policies may use, for OPA's own tools and editors, and end")
	c.RunE = func(c *cobra.Command, args []string) error {
		if capabilities {
			return printJSON(c.OutOrStdout(), authz.Capabilities())
		}
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		warnings := append([]authz.Warning{}, p.Warnings()...)
		if f.json {
			err = printJSON(c.OutOrStdout(), map[string]any{"digest": p.Digest(), "warnings": warnings})
		} else {
			for i := range warnings {
				fmt.Fprintln(c.OutOrStdout(), warnings[i].String())
			}
			fmt.Fprintf(c.OutOrStdout(), "%s compiles, %d warnings\n", p.Origin(), len(warnings))
		}
		if err == nil && strict && len(warnings) > 0 {
			err = &runError{fmt.Errorf("%d warnings", len(warnings))}
		}
		return err
	}
	return c
}

func policyFmtCommand() *cobra.Command {
	var write, list bool
	c := &cobra.Command{
		Use:   "fmt FILE|DIR…",
		Short: "Format Rego files as OPA does",
		Long: `Print Rego files as "opa fmt" writes them; DIR stands for the *.rego files in it.
With --list nothing is printed but the names of files that are not so formatted,
and the exit code is 1 if there are any.`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVarP(&write, "write", "w", false, "write files that change, instead of printing")
	c.Flags().BoolVarP(&list, "list", "l", false, "only list files that would change")
	c.RunE = func(c *cobra.Command, args []string) error {
		files, err := regoFiles(args)
		if err != nil {
			return err
		}
		differ := 0
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			want, err := authz.Format(name, text)
			if err != nil {
				return &runError{err}
			}
			changed := !bytes.Equal(text, want)
			if changed {
				differ++
			}
			switch {
			case list && changed:
				fmt.Fprintln(c.OutOrStdout(), name)
			case write && changed:
				err = replaceFile(name, want)
			case !list && !write:
				_, err = c.OutOrStdout().Write(want)
			}
			if err != nil {
				return &runError{err}
			}
		}
		if list && differ > 0 {
			return &runError{fmt.Errorf("%d files are not formatted", differ)}
		}
		return nil
	}
	return c
}

func regoFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, arg)
			continue
		}
		in, err := filepath.Glob(filepath.Join(arg, "*.rego"))
		if err != nil {
			return nil, err
		}
		files = append(files, in...)
	}
	return files, nil
}

// replaceFile leaves either the old or the new content.
func replaceFile(name string, text []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".fmt-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(text)
	if info, e := os.Stat(name); e == nil {
		err = errors.Join(err, tmp.Chmod(info.Mode().Perm()))
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(tmp.Name()))
	}
	return err
}

func policyEvalCommand() *cobra.Command {
	var f policyFlags
	var input, query string
	c := &cobra.Command{
		Use:   "eval [POLICY]",
		Short: "Evaluate the decision, or any query, for an input document",
		Example: `  bulkhead policy eval ./policies -i input.json
  tail -n 1 decisions.jsonl | jq .input | bulkhead policy eval ./policies -i - --query data.bulkhead.default.refusal`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&input, "input", "i", "", "file with the input document in JSON; - is standard input (required)")
	c.Flags().StringVarP(&query, "query", "q", "data.bulkhead.authz.decision", "what to evaluate")
	_ = c.MarkFlagRequired("input")
	c.RunE = func(c *cobra.Command, args []string) error {
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		in, err := openInput(c, input)
		if err != nil {
			return err
		}
		defer in.Close()
		value, ok, err := p.Eval(c.Context(), query, in)
		switch {
		case err != nil:
			return &runError{err}
		case !ok:
			return &runError{fmt.Errorf("%s is undefined for this input", query)}
		}
		return printJSON(c.OutOrStdout(), value)
	}
	return c
}

func openInput(c *cobra.Command, name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(c.InOrStdin()), nil
	}
	return os.Open(name)
}

func policyBuildCommand() *cobra.Command {
	var f policyFlags
	var out, revision, key, algorithm, keyID string
	c := &cobra.Command{
		Use:   "build POLICY -o FILE",
		Short: "Test a policy and make a bundle of it, signed if there is a key",
		Long: `Compile the policy, run its tests, and write an OPA bundle with its files, tests
included: every host runs them again before it publishes it. After an error the
old file is as it was.`,
		Example: "  bulkhead policy build ./policies -o site.tar.gz --revision v7 --key ops.key --algorithm ES256 --key-id ops",
		Args:    cobra.ExactArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (required)")
	c.Flags().StringVar(&revision, "revision", "", "what the bundle calls this state, such as a commit")
	c.Flags().StringVar(&key, "key", "", "file with the private key, PEM; the secret itself for HS256")
	c.Flags().StringVar(&algorithm, "algorithm", "RS256", "how to sign: RS256, ES256, … (RFC 7518)")
	c.Flags().StringVar(&keyID, "key-id", "", "the id by which hosts know the key")
	_ = c.MarkFlagRequired("output")
	c.RunE = func(c *cobra.Command, args []string) error {
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		report, err := p.Test(c.Context(), authz.TestOptions{})
		if err != nil {
			return &runError{err}
		}
		if report.Failed > 0 {
			printTests(c.ErrOrStderr(), report, false)
			return &runError{fmt.Errorf("%d of %d tests failed; nothing was written", report.Failed, len(report.Results))}
		}
		var signing *authz.Signing
		if key != "" {
			signing = &authz.Signing{KeyFile: key, Algorithm: algorithm, KeyID: keyID}
		}
		var packed bytes.Buffer
		if err := p.Pack(&packed, revision, signing); err != nil {
			return &runError{err}
		}
		if err := replaceFile(out, packed.Bytes()); err != nil {
			return &runError{err}
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"file": out, "digest": p.Digest(), "revision": revision, "signed": key != "", "tests": len(report.Results)})
		}
		fmt.Fprintf(c.OutOrStdout(), "%s  %s\n", out, p.Digest())
		return nil
	}
	return c
}
