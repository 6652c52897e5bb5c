package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
	"github.com/seed-a3fb47d6/bulkhead/sdk/pack"
	"github.com/spf13/cobra"
)

// adoption is what adopt found and wrote.
type adoption struct {
	File   string `json:"file"`
	Digest string `json:"digest"` // of the file as it is
	*pack.Recognized
	Manifest *manifest.Manifest `json:"manifest"`
	Written  []string           `json:"written,omitempty"` // manifest and plugin file
}

func adoptCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "adopt FILE",
		Short: "Make a plugin of a module that was written for another host",
		Long: `Recognize what a WebAssembly module was written for, by its header, imports and
exports: a WASI preview 1 command, an Extism plug-in, an http-wasm middleware or a
policy of Kubewarden (waPC). Print that, and a manifest for it.

With --write, write the manifest to NAME.json and the plugin, which is the unmodified
module with the manifest added, to NAME.wasm, both in the working directory; neither
may exist. Then fill the manifest in: routes, actions, which of them change things,
and the reasons for capabilities. "bulkhead plugin pack FILE -m NAME.json -o NAME.wasm"
writes the plugin again, and "bulkhead plugin inspect NAME.wasm" checks it.

The plugin runs under the same limits, grants, policy and audit as any other. What
each kind of module gets of a request, and what it may configure, is described in
sdk/docs/adopt.md.

Exit codes: 0 recognized, 1 the module cannot be run, 2 bad usage.`,
		Example: "  bulkhead plugin adopt count_vowels.wasm\n  bulkhead plugin adopt count_vowels.wasm --name vowels --write",
		Args:    cobra.ExactArgs(1),
	}
	name := c.Flags().String("name", "", "name of the plugin (default: of the file)")
	write := c.Flags().Bool("write", false, "write NAME.json and NAME.wasm")
	asJSON := c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		base := filepath.Base(args[0])
		as := cmp.Or(*name, pack.Name(strings.TrimSuffix(base, filepath.Ext(base))))
		if !manifest.ValidName(as) {
			return fmt.Errorf("--name: %q must be lower-case letters, digits and dashes", as)
		}
		module, err := pack.Read(args[0])
		if err != nil {
			return err
		}
		found, err := pack.Recognize(module)
		if err == nil && found.ABI == "" {
			err = errors.New(`is a plugin for Bulkhead; "bulkhead plugin pack" adds its manifest`)
		}
		if err != nil {
			return &runError{fmt.Errorf("%s: %w", args[0], err)}
		}
		sum := sha256.Sum256(module)
		a := &adoption{File: args[0], Digest: "sha256:" + hex.EncodeToString(sum[:]), Recognized: found, Manifest: found.Draft(as)}
		if *write {
			if err := a.write(c, as); err != nil {
				return &runError{err}
			}
		}
		if *asJSON {
			enc := json.NewEncoder(c.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(a)
		}
		return a.print(c.OutOrStdout())
	}
	return c
}

// write writes the manifest and the plugin. If that fails, neither is left.
func (a *adoption) write(c *cobra.Command, name string) (err error) {
	text, plugin := name+".json", name+".wasm"
	if _, err := os.Lstat(plugin); !os.IsNotExist(err) {
		return fmt.Errorf("%s exists; nothing was written, take another --name", plugin)
	}
	f, err := os.OpenFile(text, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists; nothing was written, take another --name", text)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(text)
		}
	}()
	enc := json.NewEncoder(f)
	enc.SetIndent("", "  ")
	if err := errors.Join(enc.Encode(a.Manifest), f.Close()); err != nil {
		return err
	}
	if _, err := pack.Pack(c.Context(), a.File, text, plugin, packing()); err != nil {
		return err
	}
	a.Written = []string{text, plugin}
	return nil
}

var abiNames = map[manifest.ABI]string{
	manifest.WASICommand: "a WASI preview 1 command, called as a CGI program",
	manifest.Extism:      "an Extism plug-in",
	manifest.HTTPWasm:    "an http-wasm middleware",
	manifest.Kubewarden:  "a policy of Kubewarden (waPC)",
}

func (a *adoption) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("file", "%s", a.File)
	row("digest", "%s", a.Digest)
	row("abi", "%s: %s", a.ABI, abiNames[a.ABI])
	if len(a.Entries) > 0 {
		row("functions", "%s", strings.Join(a.Entries, ", "))
	}
	row("capabilities", "%s", cmp.Or(strings.Join(a.Capabilities, ", "), "none"))
	for _, file := range a.Written {
		row("written", "%s", file)
	}
	if err := w.Flush(); err != nil || len(a.Written) > 0 {
		return err
	}
	text, err := json.MarshalIndent(a.Manifest, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(out, "\n%s\n", text)
	}
	return err
}
