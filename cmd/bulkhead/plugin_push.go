package main

import (
	"errors"
	"fmt"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/spf13/cobra"
)

func pushCommand() *cobra.Command {
	var f packageFlags
	c := &cobra.Command{
		Use:   "push FILE REF",
		Short: "Put a plugin into a registry or an OCI layout",
		Long: `Put a plugin's file into a registry or an OCI layout under REF's tag, and print REF
with the digest of what was pushed. The same file makes the same digest.

FILE may be an artifact in a registry or layout too: then it is copied, with its
signatures, byte by byte. That is the way back from a layout that was carried
to another network.
` + references + packageExits,
		Example: "  bulkhead plugin push hello.wasm oci://registry.example.com/plugins/hello:v1 --user ci --token-file token\n" +
			"  bulkhead plugin push oci-layout:./carried:v1 oci://registry.example.com/plugins/hello:v1",
		Args: cobra.ExactArgs(2),
	}
	f.addAccess(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		from, to, err := twoReferences(args)
		if err != nil {
			return err
		}
		client := packageClient(c)
		var pinned artifact.Reference
		if from.Registered() {
			pinned, err = client.Copy(c.Context(), from, f.accessTo(from, to), to, f.access)
		} else if !from.Local() {
			return fmt.Errorf("%s is on a server; pull it first", from.Origin())
		} else {
			var file []byte
			if file, err = artifact.ReadFile(from.Path(), artifact.MaxPlugin); err != nil {
				return err
			}
			pinned, err = client.Push(c.Context(), file, to, f.access)
		}
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"reference": pinned.String()})
		}
		fmt.Fprintln(c.OutOrStdout(), pinned)
		return nil
	}
	return c
}

func twoReferences(args []string) (from, to artifact.Reference, err error) {
	from, err1 := artifact.ParseReference(args[0])
	to, err2 := artifact.ParseReference(args[1])
	return from, to, errors.Join(err1, err2)
}

func pullCommand() *cobra.Command {
	var f packageFlags
	var out string
	c := &cobra.Command{
		Use:   "pull REF -o FILE",
		Short: "Fetch a plugin and verify it",
		Long: `Fetch a plugin, verify its digest and signatures, and write its file. Without --key or
--certificate-identity no signature is verified, which a warning says. After an
error nothing is written.

With -o oci-layout:DIR:TAG the artifact is copied into a layout, with its
signatures, to be carried to a network without a registry.
` + references + packageExits,
		Example: "  bulkhead plugin pull oci://registry.example.com/plugins/hello:v1 -o hello.wasm --key ops.pub\n" +
			"  bulkhead plugin pull oci://registry.example.com/plugins/hello:v1 -o oci-layout:./carried:v1 --key ops.pub",
		Args: cobra.ExactArgs(1),
	}
	f.addAccess(c)
	f.addVerification(c)
	c.Flags().StringVarP(&out, "output", "o", "", "file or oci-layout:DIR:TAG to write (required)")
	_ = c.MarkFlagRequired("output")
	c.RunE = func(c *cobra.Command, args []string) error {
		to, err := artifact.ParseReference(out)
		if err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		if to.Remote() {
			return errors.New("--output is a file or oci-layout:DIR:TAG; to copy to a registry use \"bulkhead plugin push\"")
		}
		p, client := f.pkg(args[0]), packageClient(c)
		f.unverified(c, &p)
		a, err := client.Pull(c.Context(), p)
		if err != nil {
			return packageError(err)
		}
		if to.Registered() {
			_, err = client.Copy(c.Context(), a.Reference, f.access, to, artifact.Access{})
		} else {
			err = replaceFile(to.Path(), a.Bytes)
		}
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"reference": a.Reference.Origin(), "digest": a.Digest, "identities": a.Identities, "output": out})
		}
		printIdentities(c.OutOrStdout(), a.Digest, a.Identities)
		return nil
	}
	return c
}
