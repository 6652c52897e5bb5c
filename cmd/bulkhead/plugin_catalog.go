package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/spf13/cobra"
)

func catalogCommand() *cobra.Command {
	var f packageFlags
	c := &cobra.Command{
		Use:   "catalog [REF]",
		Short: "List the plugins of a catalogue, or of a host's catalogues",
		Long: `List the plugins of a catalogue: a signed OCI index in a registry or layout. Without
--key or --certificate-identity no signature is verified, which a warning says. Each
plugin's own signatures are verified when it is fetched.
` + references + `

Without REF, list what the catalogues of a host offer, which it fetches and verifies
as packages.catalogs in its configuration says. "bulkhead plugin install NAME" takes a
plugin from there. The host is the one on this machine, found by --config, or the one
of --host, asked as the user of bulkhead login or --token-file.
` + packageExits,
		Example: "  bulkhead plugin catalog\n  bulkhead plugin catalog oci://registry.example.com/catalog:latest --key ops.pub\n  bulkhead plugin catalog oci-layout:./carried:catalog --key ops.pub --json",
		Args:    cobra.MaximumNArgs(1),
	}
	f.addAccess(c)
	f.addVerification(c)
	of := connection{
		config:    c.Flags().StringP("config", "c", "bulkhead.yaml", "without REF: configuration of the host on this machine"),
		host:      c.Flags().String("host", "", "without REF: URL of another host"),
		tokenFile: &f.access.TokenFile,
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return offered(c, of, f.json)
		}
		p := f.pkg(args[0])
		f.unverified(c, &p)
		list, err := packageClient(c).Catalog(c.Context(), p)
		if err != nil {
			return packageError(err)
		}
		if f.json {
			return printJSON(c.OutOrStdout(), map[string]any{"digest": list.Digest, "identities": list.Identities, "plugins": list.Entries})
		}
		return printEntries(c.OutOrStdout(), list.Entries)
	}
	sign := signing("sign REF --key KEY", "Sign a catalogue with a key", "Sign a catalogue as \"bulkhead plugin sign\" signs a plugin. Sign it again after each change.")
	sign.Example = "  bulkhead plugin catalog sign oci://registry.example.com/catalog:latest --key ops.key"
	c.AddCommand(catalogAddCommand(), sign)
	return c
}

func printEntries(out io.Writer, list []artifact.Entry) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVERSION\tHOST API\tCAPABILITIES\tDESCRIPTION\tREFERENCE")
	for _, e := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", plain(e.Name), plain(e.Version), e.HostAPI, plain(strings.Join(e.Capabilities, ",")),
			strings.Join(strings.Fields(withoutEscapes(e.Description)), " "), plain(e.Reference))
	}
	return w.Flush()
}

// offered lists the plugins of a host's catalogues.
func offered(c *cobra.Command, of connection, asJSON bool) error {
	for _, flag := range []string{"user", "ca-file", "digest", "key", "all", "certificate-identity", "certificate-identity-regexp", "certificate-oidc-issuer", "trust-root"} {
		if c.Flags().Changed(flag) {
			return fmt.Errorf("--%s requires a REF; without one, the host reads the catalogues of its configuration", flag)
		}
	}
	client, err := of.open()
	if err != nil {
		return err
	}
	var answer struct {
		Catalogs []artifact.Catalog `json:"catalogs"`
	}
	if err := client.Do(c.Context(), http.MethodGet, "/api/admin/catalog", nil, &answer); err != nil {
		return &runError{err}
	}
	if asJSON {
		if err := printJSON(c.OutOrStdout(), answer.Catalogs); err != nil {
			return err
		}
	} else {
		var all []artifact.Entry
		for _, from := range answer.Catalogs {
			all = append(all, from.Entries...)
		}
		if err := printEntries(c.OutOrStdout(), all); err != nil {
			return err
		}
	}
	if len(answer.Catalogs) == 0 {
		return &runError{errors.New("the host's configuration has no catalogue; add one to packages.catalogs")}
	}
	for _, from := range answer.Catalogs {
		if from.Problem != "" {
			return &runError{fmt.Errorf("the catalogue %s cannot be used: %s", plain(from.Source), plain(from.Problem))}
		}
	}
	return nil
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
