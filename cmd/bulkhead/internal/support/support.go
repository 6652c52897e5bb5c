// Package support packs what a supporter of a host needs into one archive, without its
// secrets.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/doctor"
	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/remote"
	"github.com/seed-a3fb47d6/bulkhead/host/server"
)

const (
	maxPart   = 8 << 20         // bytes of one file of the bundle
	askTime   = 5 * time.Second // of one question to the host
	maxListed = 10_000          // files of the data directory
)

// Write writes a bundle about the host of c, as a gzipped tar archive, and reports each
// part before it is made. A part that cannot be had is a file that says why: a bundle is
// for hosts that do not work. Only an error of w ends it.
func Write(ctx context.Context, w io.Writer, c *server.Config, report func(part string)) error {
	b := &bundle{config: c, hide: newHider(c, os.Environ()), at: time.Now().UTC()}
	zip := gzip.NewWriter(w)
	b.tar = tar.NewWriter(zip)
	for _, part := range []struct {
		name string
		make func(context.Context) ([]byte, error)
	}{
		{"README.txt", b.readme}, {"version.json", b.version}, {"environment.txt", b.environment}, {"configuration.yaml", b.configuration},
		{"doctor.json", b.doctor}, {"status.json", b.status}, {"plugins.json", b.plugins}, {"log.txt", b.log},
		{"metrics.txt", b.fetch("/metrics")}, {"goroutines.txt", b.fetch("/debug/pprof/goroutine?debug=1")}, {"files.txt", b.files},
	} {
		report(part.name)
		if err := b.add(ctx, part.name, part.make); err != nil {
			return err
		}
	}
	return errors.Join(b.tar.Close(), zip.Close())
}

type bundle struct {
	config *server.Config
	hide   *hider
	tar    *tar.Writer
	at     time.Time
}

func (b *bundle) add(ctx context.Context, name string, part func(context.Context) ([]byte, error)) error {
	text, err := part(ctx)
	if err != nil {
		name, text = name+".missing", []byte(err.Error()+"\n")
	}
	// The end of a text that is too long is the newer part. It is hidden before it is cut,
	// so that no half of a secret is left.
	text = b.hide.text(text)
	text = text[max(0, len(text)-maxPart):]
	if err := b.tar.WriteHeader(&tar.Header{Name: "bulkhead-support/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: b.at}); err != nil {
		return err
	}
	_, err = b.tar.Write(text)
	return err
}

func (b *bundle) readme(context.Context) ([]byte, error) {
	return []byte(`This is what "bulkhead support-bundle" found on a host.

It has no secrets: what plugins get as their configuration is left out, of the environment there are names alone, and what
the files of secrets contain is replaced by <redacted> wherever it appears. It does name users, clusters, namespaces and
addresses. Look through it before you pass it on.

A file NAME.missing says why NAME could not be had.
`), nil
}

func (b *bundle) version(context.Context) ([]byte, error) {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return indented(map[string]any{
		"version": server.Version(), "commit": server.Commit(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		"kernel": strings.TrimSpace(string(kernel)), "cpus": runtime.NumCPU(), "at": b.at,
	})
}

// environment is the names of the variables that the host or the SDK read.
func (b *bundle) environment(context.Context) ([]byte, error) {
	var names []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		for _, prefix := range []string{"BULKHEAD_", "OTEL_", "GO", "AZURE_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_"} {
			if strings.HasPrefix(strings.ToUpper(name), prefix) {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	return []byte(strings.Join(names, "\n") + "\n"), nil
}

// configuration is the one that is used, without what plugins get.
func (b *bundle) configuration(context.Context) ([]byte, error) {
	c := *b.config
	c.Plugins = slices.Clone(c.Plugins)
	for i := range c.Plugins {
		if len(c.Plugins[i].Config) > 0 {
			c.Plugins[i].Config = json.RawMessage(`"` + hidden + `"`)
		}
	}
	return c.YAML()
}

func (b *bundle) doctor(ctx context.Context) ([]byte, error) {
	findings := []doctor.Finding{}
	doctor.Examine(ctx, b.config, func(f doctor.Finding) { findings = append(findings, f) })
	return indented(findings)
}

func (b *bundle) status(context.Context) ([]byte, error) {
	s, err := server.ReadStatus(b.config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no host runs with this data directory")
	} else if err != nil {
		return nil, err
	}
	return indented(s)
}

// plugins is what the host says of its plugins, over its admin socket.
func (b *bundle) plugins(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var list any
	if err := remote.Local(b.config.Data).Do(ctx, http.MethodGet, "/api/admin/plugins", nil, &list); err != nil {
		return nil, err
	}
	return indented(list)
}

func (b *bundle) log(context.Context) ([]byte, error) {
	text, err := server.RecentLog(b.config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("no host has run with this data directory")
	}
	return text, err
}

// fetch asks the listener of the metrics.
func (b *bundle) fetch(path string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		if b.config.Metrics == "" {
			return nil, errors.New("the configuration has no listener for metrics")
		}
		host, port, err := net.SplitHostPort(b.config.Metrics)
		if err != nil {
			return nil, err
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
		if err != nil {
			return nil, err
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answers %s", path, resp.Status)
		}
		return io.ReadAll(io.LimitReader(resp.Body, maxPart))
	}
}

// files lists the data directory: names, sizes, modes.
func (b *bundle) files(context.Context) ([]byte, error) {
	var out bytes.Buffer
	n := 0
	err := filepath.WalkDir(b.config.Data, func(path string, d fs.DirEntry, err error) error {
		if n++; n > maxListed {
			return fs.SkipAll
		}
		below, _ := filepath.Rel(b.config.Data, path)
		if err != nil {
			fmt.Fprintf(&out, "%s: %v\n", below, errors.Unwrap(err))
			return nil
		}
		if info, err := d.Info(); err == nil {
			fmt.Fprintf(&out, "%s %12d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), below)
		}
		return nil
	})
	return out.Bytes(), err
}

func indented(v any) ([]byte, error) { return json.MarshalIndent(v, "", "  ") }
