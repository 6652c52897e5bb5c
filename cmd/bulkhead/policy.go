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
  strict     what OPA's strict mode refuses, such as unused imports
  fails      a policy whose decision fails whatever is asked; a host denies everything
             by it and is not ready`,
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

// replaceFile leaves either the old or the new content. It replaces regular files
// only, and of a link the file to which it leads.
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
