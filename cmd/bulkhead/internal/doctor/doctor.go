// Package doctor examines what a host needs before it is started, or while it runs, and
// says what to do. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/artifact"
	"github.com/seed-a3fb47d6/bulkhead/host/authn"
	"github.com/seed-a3fb47d6/bulkhead/host/authz"
	"github.com/seed-a3fb47d6/bulkhead/host/cluster"
	"github.com/seed-a3fb47d6/bulkhead/host/directory"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
	"github.com/seed-a3fb47d6/bulkhead/host/sandbox"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
	"github.com/seed-a3fb47d6/bulkhead/host/state"
	"github.com/seed-a3fb47d6/bulkhead/policies"
)

// Level is how a finding counts.
type Level string

const (
	OK      Level = "ok"
	Warning Level = "warning" // the host serves, and something is not as it should be
	Problem Level = "problem" // the host does not start, or a feature does not work
)

// Finding is the result of one examination.
type Finding struct {
	Area  string `json:"area"` // such as clusters[dev]
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Advice is what to do; empty if there is nothing to do.
	Advice string `json:"advice,omitempty"`
}

const (
	minFree     = 1 << 30 // bytes on the disk of the data directory
	maxSkew     = 30 * time.Second
	warnSkew    = 5 * time.Second
	examineTime = 20 * time.Second // of one cluster or plugin
	slowStore   = 500 * time.Millisecond
)

// Examine examines what c names, in the order of a host's start, and hands each finding
// to report as soon as it is known.
func Examine(ctx context.Context, c *server.Config, report func(Finding)) {
	d := &doctor{c, report}
	d.environment()
	d.kernel()
	d.files()
	d.data()
	d.store(ctx)
	d.running()
	d.policy(ctx)
	d.directory()
	d.signIn(ctx)
	for i := range c.Clusters {
		d.cluster(ctx, c.Clusters[i])
	}
	for i := range c.Plugins {
		d.plugin(c.Plugins[i])
	}
}

type doctor struct {
	config *server.Config
	report func(Finding)
}

func (d *doctor) ok(area, format string, args ...any) {
	d.report(Finding{Area: area, Level: OK, Text: fmt.Sprintf(format, args...)})
}

func (d *doctor) warn(area, advice, format string, args ...any) {
	d.report(Finding{Area: area, Level: Warning, Text: fmt.Sprintf(format, args...), Advice: advice})
}

func (d *doctor) problem(area, advice, format string, args ...any) {
	d.report(Finding{Area: area, Level: Problem, Text: fmt.Sprintf(format, args...), Advice: advice})
}

func (d *doctor) environment() {
	if f := d.config.File; f != nil {
		d.ok("configuration", "%s is well-formed", f.Path)
		for _, name := range f.Ignored {
			d.warn("configuration", "correct its name, or unset it", "the environment variable %s is not a key and is ignored", name)
		}
	}
}

func (d *doctor) kernel() {
	switch cow, marks := sandbox.Kernel(); {
	case !cow:
		d.warn("kernel", "run the host on Linux", "memory cannot be mapped copy-on-write: each call of a plugin copies its memory")
	case !marks:
		d.warn("kernel", "use Linux 6.7 or later, and allow userfaultfd in the container's seccomp profile",
			"the kernel does not mark written pages (userfaultfd): restoring a plugin's memory scans it")
	default:
		d.ok("kernel", "memory is mapped copy-on-write, and written pages are marked")
	}
}

// minFiles is how many files and connections a host should be able to have open: each
// session of a user has some.
const minFiles = 4096

func (d *doctor) files() {
	switch most, err := openFiles(); {
	case err != nil:
	case most < minFiles:
		d.warn("files", fmt.Sprintf("raise it (ulimit -n, LimitNOFILE) to %d or more", minFiles), "the host may have only %d files and connections open", most)
	default:
		d.ok("files", "%d files and connections may be open", most)
	}
}

// store examines the etcd cluster that replicas share. An embedded store is in data.
func (d *doctor) store(ctx context.Context) {
	if len(d.config.State.Endpoints) == 0 {
		return
	}
	x, err := state.Examine(ctx, d.config.State)
	if err != nil {
		d.problem("state", "check endpoints, tls, user and the network", "%v", err)
		return
	}
	for _, m := range x.Members {
		area := "state[" + m.Endpoint + "]"
		if m.Problem != "" {
			d.warn(area, "look at this member of etcd", "%s", m.Problem)
			continue
		}
		d.ok(area, "etcd %s answers, its database has %d MiB", m.Version, m.Bytes>>20)
	}
	if x.Took > slowStore {
		d.warn("state", "give etcd a faster disk, or bring it nearer", "a read took %s; a replica that waits for 3 s admits no requests", x.Took.Round(time.Millisecond))
		return
	}
	d.ok("state", "it can be read, in %s", x.Took.Round(time.Millisecond))
}

func (d *doctor) data() {
	dir := d.config.Data
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("data", "%s does not exist yet; the host makes it", dir)
		for errors.Is(err, fs.ErrNotExist) && dir != filepath.Dir(dir) {
			dir = filepath.Dir(dir)
			_, err = os.Stat(dir)
		}
	case err != nil:
		d.problem("data", "give the user that the host runs as access to it", "%v", err)
		return
	case !info.IsDir():
		d.problem("data", "name a directory", "%s is not a directory", dir)
		return
	case info.Mode().Perm()&0o077 != 0:
		d.warn("data", "chmod 0700 "+dir, "%s has mode %04o: other users of this machine can look into it", dir, info.Mode().Perm())
	default:
		d.ok("data", "%s is closed to other users", dir)
	}
	free, err := freeBytes(dir)
	switch {
	case err != nil:
		d.warn("disk", "", "the free space of %s is not known: %v", dir, err)
	case free < minFree:
		d.warn("disk", "free some space, or move data: a full disk ends sign-ins", "%s has %d MiB left", dir, free>>20)
	default:
		d.ok("disk", "%s has %d GiB left", dir, free>>30)
	}
}

func (d *doctor) running() {
	s, err := server.ReadStatus(d.config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("host", "none runs with this data directory")
	case err != nil:
		d.warn("host", "run this as the user that the host runs as", "its status cannot be read: %v", err)
	case time.Since(s.At) > server.Stale:
		d.problem("host", "look at its log, and start it again", "process %d has not written its status since %s", s.PID, s.At.Format(time.RFC3339))
	case !s.Ready():
		d.problem("host", "`bulkhead status` says more", "process %d runs and is not ready", s.PID)
	default:
		d.ok("host", "process %d runs and is ready", s.PID)
	}
}

func (d *doctor) policy(ctx context.Context) {
	if _, err := authz.LoadPolicy(ctx, d.config.Policy.Source); err != nil {
		d.problem("policy", "`bulkhead policy test` shows the place", "%v", err)
		return
	}
	d.ok("policy", "it compiles")
	if !d.config.Policy.Log.Enabled() {
		d.warn("policy.log", "set policy.log.file", "decisions are not recorded")
	}
}

func (d *doctor) directory() {
	if d.config.Directory.Files == "" {
		return
	}
	r, err := directory.Check(d.config.Directory.Files, policies.Roles())
	switch {
	case err != nil:
		d.problem("directory.files", "correct the path", "%v", err)
	case len(r.Problems) > 0:
		d.warn("directory.files", "`bulkhead directory check` lists them", "entries, or parts of them, are left out: %d; the first: %s", len(r.Problems), r.Problems[0])
	default:
		d.ok("directory.files", "nothing is left out")
	}
}

func (d *doctor) signIn(ctx context.Context) {
	methods := d.config.Auth.Methods()
	if d.config.Auth.Disabled != nil {
		d.warn("auth", "remove auth.disabled unless another system admits users", "authentication is turned off")
	} else if len(methods) == 1 && methods[0] == "dev" {
		d.warn("auth", "add auth.oidc, auth.github or auth.proxy before others use this host", "anybody on this machine can sign in as anyone (auth.dev)")
	}
	public, err := url.Parse(d.config.PublicURL)
	if err != nil || d.config.PublicURL == "" {
		public = &url.URL{Scheme: "http", Host: d.config.Listen}
	}
	for _, x := range authn.Examine(ctx, d.config.Auth, public) {
		area := "auth[" + x.Method + "]"
		if x.Err != nil {
			d.problem(area, "check the URL, the network and caFile", "%v", x.Err)
			continue
		}
		d.clock(area, "the provider", x.Skew)
	}
}

// clock reports how far a clock is off. Tokens and certificates are valid at a time.
func (d *doctor) clock(area, whose string, skew time.Duration) {
	switch off := skew.Abs(); {
	case off > maxSkew:
		d.problem(area, "let NTP set both clocks: tokens are refused as not yet valid, or as expired", "it answers; the clock of %s differs by %s", whose, off)
	case off > warnSkew:
		d.warn(area, "let NTP set both clocks", "it answers; the clock of %s differs by %s", whose, off)
	default:
		d.ok(area, "it answers, and its clock agrees")
	}
}

func (d *doctor) cluster(ctx context.Context, c cluster.Config) {
	area := "clusters[" + c.Name + "]"
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
	var follows []string
	for _, x := range d.config.Directory.Clusters {
		if x.Name == c.Name {
			follows = x.Namespaces
		}
	}
	x, err := cluster.Examine(ctx, c, follows)
	if err != nil {
		if c.WaitForKubeconfig && errors.Is(err, fs.ErrNotExist) {
			d.warn(area, "", "the kubeconfig does not exist yet, and the host waits for it (waitForKubeconfig)")
			return
		}
		d.problem(area, "check the kubeconfig, the network and the credentials", "%v", err)
		return
	}
	d.clock(area, "the API server ("+x.Version+")", x.Skew)
	if len(x.Missing) > 0 {
		d.problem(area, "give the host's account these rights", "the host may not %s", strings.Join(x.Missing, ", "))
	}
	if len(x.Excess) > 0 {
		d.warn(area, "take these rights away: the host acts as its users and needs impersonation alone",
			"the host's account may do more than impersonate: %s", strings.Join(x.Excess, ", "))
	}
	if len(x.Missing)+len(x.Excess) == 0 {
		d.ok(area, "the host may impersonate users and groups, and no more")
	}
}

func (d *doctor) plugin(c plugin.Config) {
	area := "plugins[" + c.Name + "]"
	ref, err := artifact.ParseReference(c.Source)
	if err != nil {
		d.problem(area, "correct source", "source: %v", err)
		return
	}
	if !ref.Local() {
		d.ok(area, "source %s is fetched when the host starts; `bulkhead plugin pull` tries it", ref.Origin())
		return
	}
	i, err := plugin.Inspect(d.config.Catalog(), c)
	if err != nil {
		d.problem(area, "correct source, or build the plugin", "%v", err)
		return
	}
	for _, why := range i.Refused {
		first, rest, _ := strings.Cut(why, "; ")
		d.problem(area, strings.TrimSpace(rest), "%s", first)
	}
	if len(i.Refused) > 0 {
		return
	}
	text := i.Manifest.Name + " " + i.Manifest.Version
	if len(i.Denied) > 0 {
		slices.Sort(i.Denied)
		d.warn(area, "grant it if the plugin should have it", "%s loads without the optional capability %s", text, strings.Join(i.Denied, ", "))
		return
	}
	d.ok(area, "%s has what it asks for", text)
}
