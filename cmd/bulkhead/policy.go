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
	"slices"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/policytool"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/spf13/cobra"
)

func policyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Write, test, explain and compare policies",
		Long: `Write, test, explain and compare policies.

POLICY is a directory of *.rego files or an OPA bundle file. Each command compiles
it with the shipped rules, as the host does. Without POLICY and with --config, the
commands load the policy that the configuration names and verify its signature.
With neither, they use the shipped rules alone; explain and bench first look for
./bulkhead.yaml.

Exit codes: 0 success; 1 the policy is invalid, or the answer is no, as each
command's help says; 2 the command line or a file that it names is invalid.`,
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

// policyFlags are the flags that several commands share.
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
		return true // reading the policy will report the error
	}
	defer f.Close()
	head := make([]byte, 2)
	_, err = io.ReadFull(f, head)
	return err == nil && head[0] == 0x1f && head[1] == 0x8b
}

// atFault makes err a runError (exit code 1), unless the path does not exist.
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

func policyCheckCommand() *cobra.Command {
	var f policyFlags
	var strict, capabilities bool
	c := &cobra.Command{
		Use:   "check [POLICY]",
		Short: "Compile the policy as the host does, and warn of slow or unchecked rules",
		Long: `Compile the policy with the shipped rules, as the host does, and warn of rules that
make decisions slow and of rules that are not checked:

  unindexed  OPA evaluates all these rules for each question, because none compares
             a part of the input with a constant
  scan       a rule iterates over all teams, users or roles
  directory  a rule reads data.directory: each change of the directory discards the
             cached decisions
  uncached   a rule calls a function whose result cannot be cached, such as the clock
  per_login  a rule reads the login, so each login has its own cached decisions
  per_object a rule reads names of objects, or the whole of route, resource or
             capability, so each object has its own cached decisions
  schema     a package reads the input without the schema annotation, so a misspelt
             path is undefined instead of an error
  unread     rules in a subdirectory, or in a file whose name does not end in .rego
  strict     OPA's strict mode refuses the policy, for example for unused imports
  fails      the decision fails for every question: a host with this policy denies
             everything and is not ready`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().BoolVar(&strict, "strict", false, "treat warnings as failures (exit code 1)")
	c.Flags().BoolVar(&capabilities, "capabilities", false, "print the functions that policies may call, as OPA's tools and editors read them, and exit")
	c.RunE = func(c *cobra.Command, args []string) error {
		if capabilities {
			return printJSON(c.OutOrStdout(), authz.Capabilities())
		}
		p, err := f.open(c.Context(), args)
		if err != nil {
			return err
		}
		warnings := append([]policytool.Warning{}, policytool.Warnings(p)...)
		if f.json {
			err = printJSON(c.OutOrStdout(), map[string]any{"digest": p.Digest(), "warnings": warnings, "tests": policytool.CountTests(p)})
		} else {
			for i := range warnings {
				fmt.Fprintln(c.OutOrStdout(), warnings[i].String())
			}
			note := ""
			if len(args) > 0 && policytool.CountTests(p) == 0 {
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
		Long: `Print Rego files as "opa fmt" formats them; DIR means the *.rego files in it.
--list prints only the names of the files that are not formatted.

Exit code 1 if --list finds such files and --write does not format them, or if a
file cannot be parsed.`,
		Args: cobra.MinimumNArgs(1),
	}
	c.Flags().BoolVarP(&write, "write", "w", false, "format the files in place instead of printing them")
	c.Flags().BoolVarP(&list, "list", "l", false, "list the files that are not formatted instead of printing them")
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
			want, err := policytool.Format(name, text)
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

// replaceFile replaces a file's content atomically. It replaces regular files only;
// if name is a symbolic link, it replaces the link's target.
func replaceFile(name string, text []byte) error {
	if to, err := filepath.EvalSymlinks(name); err == nil {
		name = to
	}
	if info, err := os.Lstat(name); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file and cannot be replaced; name a file", name)
	}
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
		Long: `Print the value of the decision, or of any query, for an input document. Every
value is a success, also {"allow": false}.

Exit code 1 if the value is undefined or the evaluation fails, 2 if the query or the
input is invalid.`,
		Example: `  bulkhead policy eval ./policies -i input.json
  tail -n 1 decisions.jsonl | jq .input | bulkhead policy eval ./policies -i - --query data.bulkhead.default.refusal`,
		Args: cobra.MaximumNArgs(1),
	}
	f.add(c)
	c.Flags().StringVarP(&input, "input", "i", "", "file with the input document in JSON; - is standard input (required)")
	c.Flags().StringVarP(&query, "query", "q", "data.bulkhead.authz.decision", "query to evaluate")
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
		value, ok, err := policytool.Eval(c.Context(), p, query, in)
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
