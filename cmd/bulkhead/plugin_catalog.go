package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/spf13/cobra"
)

func catalogCommand() *cobra.Command {
	var f packageFlags
	c := &cobra.Command{
		Use:   "catalog REF",
		Short: "List the plugins of a catalogue",
		Long: `List the plugins of a catalogue: a signed OCI index in a registry or layout. Without
--key or --certificate-identity no signature is verified, which a warning says. Each
plugin's own signatures are verified when it is fetched.
` + references + packageExits,
		Example: "  bulkhead plugin catalog oci://registry.example.com/catalog:latest --key ops.pub\n  bulkhead plugin catalog oci-layout:./carried:catalog --key ops.pub --json",
		Args:    cobra.ExactArgs(1),
	}
	f.addAccess(c)
	f.addVerification(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		p := f.pkg(args[0])
		f.unverified(c, &p)
		list, err := packageClient(c).Catalog(c.Context(), p)
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"digest": list.Digest, "identities": list.Identities, "plugins": list.Entries})
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tVERSION\tHOST API\tCAPABILITIES\tDESCRIPTION\tREFERENCE")
		for _, e := range list.Entries {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.Name, e.Version, e.HostAPI, strings.Join(e.Capabilities, ","), strings.Join(strings.Fields(withoutEscapes(e.Description)), " "), e.Reference)
		}
		return w.Flush()
	}
	sign := signing("sign REF --key KEY", "Sign a catalogue with a key", "Sign a catalogue as \"bulkhead plugin sign\" signs a plugin. Sign it again after each change.")
	sign.Example = "  bulkhead plugin catalog sign oci://registry.example.com/catalog:latest --key ops.key"
	c.AddCommand(catalogAddCommand(), sign)
	return c
}

func catalogAddCommand() *cobra.Command {
	var f packageFlags
	c := &cobra.Command{
		Use:   "add CATALOG REF",
		Short: "Add a plugin to a catalogue",
		Long: `Add the plugin REF to the catalogue CATALOG, which is made if it does not exist. The
plugin is copied with its signatures into the catalogue's repository, so that a
copy of the catalogue is complete. An entry of the same name and version is
replaced. Then sign the catalogue. The flags about a server are for CATALOG's, and for
REF if it is on the same server.
` + references + packageExits,
		Example: "  bulkhead plugin catalog add oci://registry.example.com/catalog:latest oci://registry.example.com/plugins/hello:v1 --key ops.pub",
		Args:    cobra.ExactArgs(2),
	}
	f.addAccess(c)
	f.addVerification(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		catalog, plugin, err := twoReferences(args)
		if err != nil {
			return err
		}
		p := f.pkg(args[1])
		p.Access = f.accessTo(plugin, catalog)
		f.unverified(c, &p)
		pinned, e, err := packageClient(c).AddToCatalog(c.Context(), p, catalog, f.access)
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"catalog": pinned.String(), "plugin": e})
		}
		fmt.Fprintf(c.OutOrStdout(), "%s  %s %s  %s\n", pinned, e.Name, e.Version, artifact.TypeCatalog)
		return nil
	}
	return c
}
