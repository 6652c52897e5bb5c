package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-a3fb47d6/bulkhead/host"
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
says, its signature verified. With neither, it is the shipped rules alone, but for
explain and bench, which look for ./bulkhead.yaml first.

Exit codes: 0 done; 1 the policy is at fault, or the answer is no, as each
command's help says; 2 the command line is, or a file that it names cannot be used
for what it is given.`,
	}
	c.AddCommand(policyTestCommand(), policyCheckCommand(), policyFmtCommand(), policyEvalCommand(),
		policyExplainCommand(), policyBenchCommand(), policyDiffCommand(), policyBuildCommand())
	c.PersistentPreRunE = func(c *cobra.Command, args []string) error {
		for _, name := range []string{"config", "policy", "directory", "log", "input", "output", "key"} {
			if f := c.Flags().Lookup(name); f != nil && f.Changed && f.Value.String() == "" {
				return fmt.Errorf("--%s is empty; is a variable not set?", name)
			}
		}
		if slices.Contains(args, "") {
			return errors.New("an argument is empty; is a variable not set?")
		}
		return nil
	}
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
	case len(args) > 0:
		return readPolicy(ctx, args[0])
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

// readPolicy compiles the policy at path.
func readPolicy(ctx context.Context, path string) (*authz.Policy, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && !gzipped(path) {
		return nil, fmt.Errorf("%s is neither a directory nor a bundle, which is a gzipped tar", path)
	}
	p, err := authz.ReadPolicy(ctx, path)
	return p, atFault(err)
}

func gzipped(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true // reading it will tell
	}
	defer f.Close()
	head := make([]byte, 2)
	_, err = io.ReadFull(f, head)
	return err == nil && head[0] == 0x1f && head[1] == 0x8b
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
is shown for tests that fail, and with -v for all. Exit code 1 if a test fails or
--run leaves none.`,
		Example: "  bulkhead policy test ./policies --coverage",
		Args:    cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&o.Run, "run", "r", "", "run only tests whose name matches this regular expression")
	c.Flags().BoolVar(&o.Coverage, "coverage", false, "say which lines no test reaches")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "list tests that pass, too")
	c.RunE = func(c *cobra.Command, args []string) error {
		if _, err := regexp.Compile(o.Run); err != nil {
			return fmt.Errorf("--run: %w", err)
		}
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
		if err == nil && o.Run != "" && len(report.Results) == 0 {
			err = &runError{fmt.Errorf("--run: no test's name matches %s", o.Run)}
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
		for _, name := range slices.Sorted(maps.Keys(report.Coverage.Files)) {
			var lines []string
			for _, gap := range report.Coverage.Files[name].NotCovered {
				lines = append(lines, fmt.Sprintf("%s:%d: not reached, to line %d\n", name, gap.Start.Row, gap.End.Row))
			}
			// Several parts of a line may not be reached.
			fmt.Fprint(w, strings.Join(slices.Compact(lines), ""))
		}
		fmt.Fprintf(w, "coverage of the policy's files: %.0f %%\n", coverage(report))
	}
	skipped := ""
	if n := countSkipped(report); n > 0 {
		skipped = fmt.Sprintf(", %d skipped", n)
	}
	fmt.Fprintf(w, "%d tests, %d failed%s\n", len(report.Results), report.Failed, skipped)
}

func countSkipped(report *authz.TestReport) (n int) {
	for i := range report.Results {
		if report.Results[i].Skipped {
			n++
		}
	}
	return n
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
makes deciding slow, and of what is not checked:

  unindexed  rules that are all tried for each question, because none compares a
             part of the input with a constant
  scan       going through all teams, users or roles
  directory  reading data.directory, any change of which ends cached decisions
  uncached   functions that keep decisions from being cached, such as the clock
  per_login  reading the login, which makes each login's decisions its own
  per_object reading names of objects, or the whole of route, resource or
             capability, which makes the decisions about each object its own
  schema     a package that reads the input without the schema annotation, so that
             a path which no input has is undefined and no mistake
  unread     rules in a subdirectory, or in a file whose name does not end in .rego
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
			err = printJSON(c.OutOrStdout(), map[string]any{"digest": p.Digest(), "warnings": warnings, "tests": p.Tests()})
		} else {
			for i := range warnings {
				fmt.Fprintln(c.OutOrStdout(), warnings[i].String())
			}
			note := ""
			if len(args) > 0 && p.Tests() == 0 {
				note = "; it has no tests"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s compiles, %d warnings%s\n", p.Origin(), len(warnings), note)
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
With --list nothing is printed but the names of files that are not so formatted.
Exit code 1 if there are any and --write does not write them, or if a file cannot
be parsed.`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVarP(&write, "write", "w", false, "write files that change, instead of printing")
	c.Flags().BoolVarP(&list, "list", "l", false, "list files that change, instead of printing")
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
			if list && changed {
				fmt.Fprintln(c.OutOrStdout(), name)
			}
			if write && changed {
				err = replaceFile(name, want)
			}
			if !list && !write {
				_, err = c.OutOrStdout().Write(want)
			}
			if err != nil {
				return &runError{err}
			}
		}
		if list && !write && differ > 0 {
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
		Long: `Print the value of the decision, or of any query, for an input document. A value
is an answer whatever it is, also {"allow": false}. Exit code 1 if it is undefined
or cannot be evaluated, 2 if query or input are no such thing.`,
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
		switch invalid, is := errors.AsType[*host.Error](err); {
		case is && invalid.Kind == host.Invalid:
			return err
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
old file is as it was. Exit code 1 if the policy does not compile or a test fails,
2 if key, algorithm or file are at fault.`,
		Example: "  bulkhead policy build ./policies -o site.tar.gz --revision v7 --key ops.key --key-id ops",
		Args:    cobra.ExactArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&out, "output", "o", "", "file to write (required)")
	c.Flags().StringVar(&revision, "revision", "", "what the bundle calls this state, such as a commit")
	c.Flags().StringVar(&key, "key", "", "file with the private key, PEM; the secret itself for HS256")
	c.Flags().StringVar(&algorithm, "algorithm", "", "how to sign: RS256, ES256, … (RFC 7518); if empty, as is usual for the key")
	c.Flags().StringVar(&keyID, "key-id", "", "the id by which hosts know the key")
	_ = c.MarkFlagRequired("output")
	c.RunE = func(c *cobra.Command, args []string) error {
		var signing *authz.Signing
		if c.Flags().Changed("key") {
			signing = &authz.Signing{KeyFile: key, Algorithm: algorithm, KeyID: keyID}
		}
		if err := checkBuild(c, out, signing); err != nil {
			return err
		}
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
		var packed bytes.Buffer
		if err := p.Pack(&packed, revision, signing); err != nil {
			return &runError{err}
		}
		if err := replaceFile(out, packed.Bytes()); err != nil {
			return &runError{err}
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"file": out, "digest": p.Digest(), "revision": revision, "signed": signing != nil, "tests": len(report.Results)})
		}
		signed := "not signed"
		if signing != nil {
			signed = fmt.Sprintf("signed by %s (%s)", cmp.Or(keyID, "a key without id"), signing.Algorithm)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s  %s  %s\n", out, p.Digest(), signed)
		return nil
	}
	return c
}

// checkBuild reports what is wrong with the options of build: above all those
// that would leave a bundle unsigned which was meant to be signed.
func checkBuild(c *cobra.Command, out string, signing *authz.Signing) error {
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		return fmt.Errorf("--output %s is a directory", out)
	}
	if info, err := os.Stat(filepath.Dir(out)); err != nil || !info.IsDir() {
		return fmt.Errorf("--output %s: there is no such directory", out)
	}
	if signing != nil {
		if err := signing.Check(); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
		return nil
	}
	for _, name := range []string{"algorithm", "key-id"} {
		if c.Flags().Changed(name) {
			return fmt.Errorf("--%s is about signing, which takes --key", name)
		}
	}
	return nil
}
