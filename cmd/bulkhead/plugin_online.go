package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/remote"
	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/fleet"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const onlineHelp = foundHost + `
Exit codes: 0 done, 1 the host refused, or a step failed on a replica, or it took
longer than --timeout, 2 bad usage, 3 the consent of an administrator is missing.`

// consentError is a change that needs the consent of an administrator.
type consentError struct{ error }

func (e *consentError) Unwrap() error { return e.error }

// onlineCommands are the commands that ask a host about its plugins.
func onlineCommands() []*cobra.Command {
	return []*cobra.Command{
		installCommand("install"), installCommand("upgrade"), installCommand("canary"),
		approveCommand(),
		changeCommand("promote", "Make the canary of a plugin serve everybody"),
		changeCommand("rollback", "Drop the canary of a plugin, or go back to an earlier version"),
		changeCommand("remove", "Stop a plugin on every replica"),
		pluginStatusCommand(),
	}
}

// online is what the commands have in common.
type online struct {
	connection
	asJSON, wait *bool
	timeout      *time.Duration
}

func onlineFlags(c *cobra.Command) online {
	return online{
		connection: connectionFlags(c), asJSON: c.Flags().Bool("json", false, "print JSON"),
		wait:    c.Flags().Bool("wait", true, "wait until every replica is done, or one has failed"),
		timeout: c.Flags().Duration("timeout", 2*time.Minute, "the longest wait"),
	}
}

func path(name, rest string) string { return "/api/admin/plugins/" + url.PathEscape(name) + rest }

// get returns what is known of a plugin; nil if there is no such name.
func get(ctx context.Context, c *remote.Client, name, tag string) (*fleet.Plugin, error) {
	rest := ""
	if tag != "" {
		rest = "?after=" + url.QueryEscape(tag)
	}
	p := &fleet.Plugin{}
	err := c.Do(ctx, http.MethodGet, path(name, rest), nil, p)
	if e, ok := errors.AsType[*remote.Error](err); ok && e.Status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, &runError{err}
	}
	return p, nil
}

// installing is the flags of install, upgrade and canary.
type installing struct {
	online
	kind         string
	entry        *string
	digest       *string
	consent      *string
	dryRun       *bool
	percent      *float64
	users        *[]string
	roles, teams *[]string
	promoteAfter *time.Duration
}

func installCommand(kind string) *cobra.Command {
	c := &cobra.Command{Use: kind + " NAME FILE|REF", Args: cobra.ExactArgs(2)}
	source := `
FILE is a .wasm file, which is uploaded. REF is https://…, oci://…, oci-layout:DIR on the
host, or catalog:PLUGIN[@VERSION], a plugin of the host's catalogues: the hosts fetch and
verify it, as packages in their configuration says. A tag is looked up once, and every
replica runs what it meant then.

Before anything changes, the host tries the version and compares it with the one
that serves. What it may do that the other may not is shown, and needs consent: on a
terminal you are asked, otherwise give --consent with the digest that --dry-run
printed.`
	switch kind {
	case "install":
		c.Use, c.Args = "install NAME [FILE|REF]", cobra.RangeArgs(1, 2)
		c.Short = "Install a plugin on every replica"
		c.Long = c.Short + ".\n" + source + `

--entry names a YAML file with grants, config, limits and rollout, as in the
configuration file. What it leaves out the plugin does not get. Without FILE and REF,
the newest version of NAME in the host's catalogues is installed.
` + onlineHelp
		c.Example = "  bulkhead plugin install echo build/plugins/echo.wasm\n" +
			"  bulkhead plugin install hello oci://registry.example.com/plugins/hello:v1\n" +
			"  bulkhead plugin install gitops gitops.wasm --entry gitops.yaml --dry-run\n" +
			"  bulkhead plugin install gitops gitops.wasm --entry gitops.yaml --consent sha256:… --host https://console.example.com"
	case "upgrade":
		c.Use, c.Args = "upgrade NAME [FILE|REF]", cobra.RangeArgs(1, 2)
		c.Short = "Replace a version of a plugin on every replica"
		c.Long = c.Short + `. Sessions stay on the version they began on
until they end.
` + source + `

What --entry does not give stays as it is; without FILE and REF the module does.
` + onlineHelp
		c.Example = "  bulkhead plugin upgrade echo build/plugins/echo.wasm\n  bulkhead plugin upgrade gitops --entry gitops.yaml"
	case "canary":
		c.Short = "Let some users have a new version of a plugin first"
		c.Long = c.Short + `: a share of them, or those
of a list, role or team. It ends with bulkhead plugin promote or rollback, after
--promote-after without a regression, or with a regression.
` + source + "\n\nWhat --entry does not give stays as it is.\n" + onlineHelp
		c.Example = "  bulkhead plugin canary echo build/plugins/echo.wasm --percent 10 --promote-after 30m\n" +
			"  bulkhead plugin canary echo build/plugins/echo.wasm --users ann@example.com --teams payments@example.com"
	}
	f := installing{kind: kind, online: onlineFlags(c)}
	f.entry = c.Flags().String("entry", "", "YAML file with grants, config, limits and rollout")
	f.digest = c.Flags().String("digest", "", "digest that the module has to have, as sha256:HEX")
	f.consent = c.Flags().String("consent", "", "digest of the comparison that you approve")
	f.dryRun = c.Flags().Bool("dry-run", false, "try and compare it, and change nothing")
	if kind == "canary" {
		f.percent = c.Flags().Float64("percent", 0, "share of the users, 0 to 100")
		f.users = c.Flags().StringSlice("users", nil, "users, by id")
		f.roles = c.Flags().StringSlice("roles", nil, "users of these roles")
		f.teams = c.Flags().StringSlice("teams", nil, "users of these teams, by id")
		f.promoteAfter = c.Flags().Duration("promote-after", 0, "serve everybody after this time without a regression")
	}
	c.RunE = func(c *cobra.Command, args []string) error { return f.run(c, args) }
	return c
}

// request makes the request of the flags, as far as it needs no host.
func (f *installing) request(args []string) (q fleet.Request, file string, err error) {
	q.Digest, q.Consent = *f.digest, *f.consent
	given := []string{}
	if *f.entry != "" {
		text, err := os.ReadFile(*f.entry)
		if err != nil {
			return q, "", err
		}
		if given, err = fleet.ParseEntry(text, &q); err != nil {
			return q, "", fmt.Errorf("--entry: %s: %w", *f.entry, err)
		}
	}
	switch {
	case len(args) == 2:
		given = append(given, "module")
		if file, q.Reference, err = fileOrReference(args[1]); err != nil {
			return q, "", err
		}
	case f.kind == "install":
		q.Reference = inCatalog + args[0]
	}
	if f.kind == "canary" {
		rule := &plugin.Canary{Percent: *f.percent, Roles: *f.roles, Teams: *f.teams, PromoteAfter: host.Duration(*f.promoteAfter)}
		for _, user := range *f.users {
			rule.Users = append(rule.Users, host.UserID(user))
		}
		if rule.Percent == 0 && len(rule.Users)+len(rule.Roles)+len(rule.Teams) == 0 {
			return q, "", errors.New("the canary is for no user; give --percent, --users, --roles or --teams")
		}
		q.Canary = rule
	}
	if f.kind != "install" {
		for _, field := range []string{"module", "grants", "config", "limits", "rollout"} {
			if !slices.Contains(given, field) {
				q.Keep = append(q.Keep, field)
			}
		}
		if len(given) == 0 {
			return q, "", errors.New("nothing is to be changed; give a FILE, a REF or --entry")
		}
	}
	return q, file, nil
}

// inCatalog begins the reference of a plugin in the host's catalogues.
const inCatalog = "catalog:"

// fileOrReference tells a file of this machine from what the hosts fetch.
func fileOrReference(text string) (file, reference string, err error) {
	if strings.HasPrefix(text, inCatalog) {
		return "", text, nil
	}
	ref, err := artifact.ParseReference(text)
	if err != nil {
		return "", "", err
	}
	if ref.Local() {
		return ref.Path(), "", nil
	}
	return "", ref.String(), nil
}

func (f *installing) run(c *cobra.Command, args []string) error {
	q, file, err := f.request(args)
	if err != nil {
		return err
	}
	client, err := f.open()
	if err != nil {
		return err
	}
	ctx, name, progress := c.Context(), args[0], c.ErrOrStderr()
	before, err := get(ctx, client, name, "")
	if err != nil {
		return err
	}
	if f.kind != "install" {
		if before == nil || before.Revision == 0 {
			return &runError{fmt.Errorf("%s is not installed%s", name, after(": it belongs to the ", ofFile(before)))}
		}
		q.Revision = before.Revision
	}
	if file != "" {
		if err := upload(ctx, client, progress, file, &q); err != nil {
			return err
		}
	}
	fmt.Fprintf(progress, "%s: trying it on %s\n", name, client.Where)
	var answer struct {
		Report *plugin.Report `json:"report"`
	}
	if err := client.Do(ctx, http.MethodPut, path(name, "?dryRun=true"), &q, &answer); err != nil {
		return &runError{err}
	}
	tried := answer.Report
	if tried == nil {
		return &runError{errors.New("the host's answer has no report")}
	}
	if *f.dryRun {
		return f.show(c.OutOrStdout(), tried)
	}
	if tried.Comparison == nil || len(tried.Comparison.More) == 0 {
		q.Consent = ""
	} else if err := agree(c, name, &q.Consent, tried.Comparison); err != nil {
		return err
	}
	q.Digest = cmp.Or(q.Digest, keptOr(&q, tried.Digest)) // what was compared, whatever a tag means by now
	q.Reference = keptOr(&q, tried.Source)
	if err := client.Do(ctx, http.MethodPut, path(name, ""), &q, &answer); err != nil {
		return refusal(err)
	}
	if !*f.asJSON {
		fmt.Fprintf(c.OutOrStdout(), "%s: version %s (%s) is desired of every replica\n", name, plain(tried.Version), tried.Digest)
	}
	return f.follow(c, client, name, revisionOf(before))
}

// keptOr is what names the module, "" if the one that serves is kept.
func keptOr(q *fleet.Request, text string) string {
	if slices.Contains(q.Keep, "module") {
		return ""
	}
	return text
}

func ofFile(p *fleet.Plugin) string {
	if p == nil || p.Origin != plugin.File {
		return ""
	}
	return "configuration file"
}

func revisionOf(p *fleet.Plugin) int64 {
	if p == nil {
		return 0
	}
	return p.Revision
}

// refusal is a host's answer to a change.
func refusal(err error) error {
	if e, ok := errors.AsType[*remote.Error](err); ok && e.Detail == "consent_required" {
		return &consentError{err}
	}
	return &runError{err}
}

func upload(ctx context.Context, c *remote.Client, progress io.Writer, file string, q *fleet.Request) error {
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	info, err := content.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file", file)
	case info.Size() > state.MaxUpload:
		return fmt.Errorf("%s has %d bytes, and may have %d", file, info.Size(), int64(state.MaxUpload))
	}
	fmt.Fprintf(progress, "uploading %s (%d KiB)\n", file, info.Size()>>10)
	var u state.Upload
	if err := c.Do(ctx, http.MethodPost, "/api/admin/uploads", content, &u); err != nil {
		return &runError{err}
	}
	if q.Digest != "" && q.Digest != u.Digest {
		return &runError{fmt.Errorf("--digest: %s has %s", file, u.Digest)}
	}
	q.Digest = u.Digest
	return nil
}

// show prints what a dry run found.
func (f *installing) show(out io.Writer, r *plugin.Report) error {
	if *f.asJSON {
		return printJSON(out, r)
	}
	fmt.Fprintf(out, "%s %s, %s: %s\n", plain(r.Plugin), plain(r.Version), r.Digest, r.Outcome)
	if r.Source != "" {
		fmt.Fprintln(out, "from", plain(r.Source))
	}
	for _, w := range r.Warnings {
		fmt.Fprintln(out, "warning:", plain(w))
	}
	if r.Comparison == nil {
		fmt.Fprintln(out, "it is what serves already")
		return nil
	}
	compared(out, r.Comparison)
	if len(r.Comparison.More) > 0 {
		fmt.Fprintf(out, "consent: %s\n", r.Comparison.Digest)
	}
	return nil
}

// compared prints a comparison.
func compared(out io.Writer, c *plugin.Comparison) {
	from := "nothing serves now"
	if c.From != "" {
		from = "version " + plain(c.From) + " serves now"
	}
	fmt.Fprintf(out, "compared with what serves (%s):\n", from)
	for _, part := range []struct {
		word    string
		changes []plugin.Change
	}{{"MORE", c.More}, {"less", c.Less}, {"other", c.Changed}} {
		for _, x := range part.changes {
			fmt.Fprintf(out, "  %-5s %s\n", part.word, plain(x.String()))
		}
	}
	if len(c.More)+len(c.Less)+len(c.Changed) == 0 {
		fmt.Fprintln(out, "  it may do the same")
	}
}

// agree gets the consent to what is new, unless it is given.
func agree(c *cobra.Command, name string, consent *string, what *plugin.Comparison) error {
	digest := what.Digest
	if *consent != "" {
		if *consent != digest {
			return &consentError{fmt.Errorf("--consent is for another comparison; look at what is new now (%s)", digest)}
		}
		return nil
	}
	compared(c.ErrOrStderr(), what)
	in, ok := c.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return &consentError{fmt.Errorf("%s may do more than what serves: repeat with --consent %s if you approve it", name, digest)}
	}
	fmt.Fprintf(c.ErrOrStderr(), "Let %s do what is marked MORE? [y/N] ", name)
	line, err := readLine(c.Context(), bufio.NewReader(in))
	if err != nil || !slices.Contains([]string{"y", "yes"}, strings.ToLower(line)) {
		return &consentError{errors.New("not approved; nothing was changed")}
	}
	*consent = digest
	return nil
}

// follow waits until every replica is done with what is newer than a revision, with
// progress on standard error.
func (f *online) follow(c *cobra.Command, client *remote.Client, name string, since int64) error {
	ctx, cancel := context.WithTimeout(c.Context(), *f.timeout)
	defer cancel()
	var last *fleet.Plugin
	said := map[string]string{}
	for *f.wait {
		tag := ""
		if last != nil {
			tag = last.Tag
		}
		p, err := get(ctx, client, name, tag)
		if ctx.Err() != nil && c.Context().Err() == nil {
			why := "no answer"
			if last != nil {
				why = string(last.State) + after(": ", last.Because)
			}
			return &runError{fmt.Errorf("%s is not active after %v: %s; it goes on, see bulkhead plugin status %s", name, *f.timeout, why, name)}
		}
		if err != nil {
			return err
		}
		if p == nil {
			return &runError{fmt.Errorf("%s was removed meanwhile", name)}
		}
		last = p
		if p.Revision <= since {
			continue
		}
		for _, r := range p.Replicas {
			text := string(cmp.Or(r.Phase, "waiting")) + after(" at ", r.Step) + after(": ", r.Reason) + after(": ", r.Refused)
			if r.Fresh && r.Revision == p.Revision && said[r.Replica] != text {
				said[r.Replica] = text
				fmt.Fprintf(c.ErrOrStderr(), "replica %s: %s\n", short(r.Replica), plain(text))
			}
		}
		if p.State == fleet.Failed {
			if *f.asJSON {
				if err := printJSON(c.OutOrStdout(), p); err != nil {
					return err
				}
			}
			return &runError{fmt.Errorf("%s failed: %s; what served before goes on serving there", name, plain(p.Because))}
		}
		if p.State == fleet.Active {
			break
		}
	}
	switch {
	case last == nil:
		return nil
	case *f.asJSON:
		return printJSON(c.OutOrStdout(), last)
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%s: active on %s\n", name, replicas(last))
	return err
}

// short is enough of a replica's name to tell it from others.
func short(replica string) string { return replica[:min(8, len(replica))] }

func replicas(p *fleet.Plugin) string {
	n := 0
	for _, r := range p.Replicas {
		if r.Fresh {
			n++
		}
	}
	if n == 1 {
		return "1 replica"
	}
	return strconv.Itoa(n) + " replicas"
}

func approveCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "approve NAME", Short: "Let a version of the configuration file run that waits for consent", Args: cobra.ExactArgs(1),
		Long: `Let a version run that the configuration file brought and that waits, because it
may do more than the one that serves. What is new is shown: on a terminal you are
asked, otherwise give --consent with the digest of the comparison. The consent counts
for exactly that module, its grants and its limits, on every replica.
` + onlineHelp,
		Example: "  bulkhead plugin approve gitops\n  bulkhead plugin approve gitops --consent sha256:…",
	}
	f := onlineFlags(c)
	consent := c.Flags().String("consent", "", "digest of the comparison that you approve")
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := f.open()
		if err != nil {
			return err
		}
		name := args[0]
		p, err := get(c.Context(), client, name, "")
		switch {
		case err != nil:
			return err
		case p == nil:
			return &runError{fmt.Errorf("no plugin has the name %q", name)}
		}
		if p.Waiting != nil && p.Waiting.Comparison != nil {
			if err := agree(c, name, consent, p.Waiting.Comparison); err != nil {
				return err
			}
		}
		if *consent == "" {
			return &runError{fmt.Errorf("no version of %s waits on the replica that answers%s", name, after(": ", plain(p.Because)))}
		}
		if err := client.Do(c.Context(), http.MethodPost, path(name, "/approve"), map[string]any{"consent": *consent}, nil); err != nil {
			return &runError{err}
		}
		return f.follow(c, client, name, -1)
	}
	return c
}

func changeCommand(kind, shortText string) *cobra.Command {
	c := &cobra.Command{Use: kind + " NAME", Short: shortText, Args: cobra.ExactArgs(1), Long: shortText + ".\n" + onlineHelp}
	f := onlineFlags(c)
	to := new(string)
	switch kind {
	case "rollback":
		to = c.Flags().String("to", "", "digest of the earlier version (default: the last one; with a canary, what serves)")
		c.Long = shortText + `. Its module is on every replica already,
so that no network is needed. bulkhead plugin status NAME lists the versions.
` + onlineHelp
		c.Example = "  bulkhead plugin rollback echo\n  bulkhead plugin rollback echo --to sha256:…"
	case "remove":
		c.Long = shortText + `. Sessions that run end at the drain deadline
of the plugin at the latest.
` + onlineHelp
		c.Example = "  bulkhead plugin remove echo"
	default:
		c.Example = "  bulkhead plugin " + kind + " echo"
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := f.open()
		if err != nil {
			return err
		}
		name := args[0]
		before, err := get(c.Context(), client, name, "")
		if err != nil {
			return err
		}
		if before == nil || before.Revision == 0 {
			return &runError{fmt.Errorf("%s is not installed%s", name, after(": it belongs to the ", ofFile(before)))}
		}
		if kind == "remove" {
			if err := client.Do(c.Context(), http.MethodDelete, path(name, "?revision="+strconv.FormatInt(before.Revision, 10)), nil, nil); err != nil {
				return &runError{err}
			}
			return f.gone(c, client, name)
		}
		body := map[string]any{"revision": before.Revision}
		if *to != "" {
			body["digest"] = *to
		}
		if err := client.Do(c.Context(), http.MethodPost, path(name, "/"+kind), body, nil); err != nil {
			return &runError{err}
		}
		return f.follow(c, client, name, before.Revision)
	}
	return c
}

// gone waits until no replica runs the plugin.
func (f *online) gone(c *cobra.Command, client *remote.Client, name string) error {
	ctx, cancel := context.WithTimeout(c.Context(), *f.timeout)
	defer cancel()
	tag := ""
	for *f.wait {
		p, err := get(ctx, client, name, tag)
		if ctx.Err() != nil && c.Context().Err() == nil {
			return &runError{fmt.Errorf("%s still runs after %v; it goes on being removed", name, *f.timeout)}
		}
		if err != nil {
			return err
		}
		if p == nil {
			break
		}
		tag = p.Tag
	}
	if *f.asJSON {
		return printJSON(c.OutOrStdout(), map[string]string{"removed": name})
	}
	_, err := fmt.Fprintln(c.OutOrStdout(), name+": removed")
	return err
}

func pluginStatusCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "status [NAME]", Short: "Say what runs on every replica, and what is desired", Args: cobra.MaximumNArgs(1),
		Long: `Say what runs on every replica, and what is desired. A plugin is active if every
fresh replica runs what is desired, progressing if one is not done, failed if one
could not; a replica that could not still runs what it ran before.
` + `
The host is found as by the other commands. Exit codes: 0 all are active, 1 one is
not, or the host cannot say, 2 bad usage.`,
		Example: "  bulkhead plugin status\n  bulkhead plugin status echo --json",
	}
	f, asJSON := connectionFlags(c), c.Flags().Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, args []string) error {
		client, err := f.open()
		if err != nil {
			return err
		}
		var list []fleet.Plugin
		if len(args) == 1 {
			p, err := get(c.Context(), client, args[0], "")
			if err != nil {
				return err
			}
			if p == nil {
				return &runError{fmt.Errorf("no plugin has the name %q", args[0])}
			}
			list = append(list, *p)
		} else {
			var answer struct{ Plugins []fleet.Plugin }
			if err := client.Do(c.Context(), http.MethodGet, "/api/admin/plugins", nil, &answer); err != nil {
				return &runError{err}
			}
			list = answer.Plugins
		}
		switch {
		case *asJSON && len(args) == 1:
			err = printJSON(c.OutOrStdout(), list[0])
		case *asJSON:
			err = printJSON(c.OutOrStdout(), list)
		default:
			err = printPlugins(c.OutOrStdout(), list, len(args) == 1)
		}
		if err != nil {
			return err
		}
		for _, p := range list {
			if p.State != fleet.Active {
				return &runError{fmt.Errorf("%s is %s%s", p.Name, p.State, after(": ", plain(p.Because)))}
			}
		}
		return nil
	}
	return c
}

func printPlugins(out io.Writer, list []fleet.Plugin, all bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = plain(cells[i])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	row("NAME", "OF", "STATE", "VERSION", "ON", "DIGEST")
	for _, p := range list {
		version, digest := "", ""
		for _, r := range p.Replicas {
			version, digest = cmp.Or(version, r.Version), cmp.Or(digest, r.Digest)
		}
		if p.Serve != nil {
			version, digest = p.Serve.Version, p.Serve.Digest
		}
		if p.Canary != nil {
			version += ", canary " + p.Canary.Version
		}
		row(p.Name, string(p.Origin), string(p.State), version, replicas(&p), digest)
	}
	if !all {
		return w.Flush()
	}
	p := list[0]
	if p.Revision != 0 {
		row("revision", fmt.Sprintf("%d, by %s (%s) at %s%s", p.Revision, p.By, p.Method, p.At.Local().Format(time.RFC3339), after(": ", p.Changed)))
	}
	for _, r := range p.Replicas {
		state := "fresh"
		if !r.Fresh {
			state = "not fresh"
		}
		row("replica", short(r.Replica), state, string(cmp.Or(r.Phase, "waiting")), r.Version, r.Digest, after(r.Step+": ", r.Reason)+r.Refused)
	}
	if w := p.Waiting; w != nil && w.Comparison != nil {
		row("waiting", w.Version, w.Digest, "for bulkhead plugin approve "+p.Name+" --consent "+w.Comparison.Digest)
		for _, x := range w.Comparison.More {
			row("more", x.String())
		}
	}
	for _, v := range p.Earlier {
		row("earlier", v.Version, v.Digest)
	}
	return w.Flush()
}
