package dev

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/cmd/bulkhead/internal/devhost"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/sdk/manifest"
)

// printer prints what happens, each thing whole.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	kinds *capability.Catalog
}

func (p *printer) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.out, text) // the terminal is gone, and with it the reader
}

func (p *printer) serves(m *manifest.Manifest, url string, size int, built, served time.Duration) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s serves (%d KB; built in %s, replaced in %s)\n", m.Name, m.Version, size/1000, short(built), short(served))
	for _, r := range m.Routes {
		if r.Kind == manifest.Socket {
			fmt.Fprintf(&b, "  %s%s  (websocket)\n", strings.Replace(url, "http", "ws", 1)+"/ws/"+m.Name, strings.TrimSuffix(r.Path, "/"))
		} else {
			fmt.Fprintf(&b, "  %-6s %s/api/%s%s\n", r.Method, url, m.Name, strings.TrimSuffix(r.Path, "/"))
		}
	}
	p.print(b.String())
}

func (p *printer) failed(what string, serving bool, err error) {
	text := what + ": " + err.Error() + "\n"
	if serving {
		text += "the earlier version serves on\n"
	}
	p.print(text)
}

// request prints one line about a request, one for each capability call in it, and what
// would permit what was refused.
func (p *printer) request(t *devhost.Trace) {
	var b strings.Builder
	status := "-" // a websocket
	if t.Status > 0 {
		status = fmt.Sprint(t.Status)
	}
	fmt.Fprintf(&b, "%s %s  %s  %s", t.Method, t.URI, status, short(t.Took))
	if u := t.Usage; u != nil {
		fmt.Fprintf(&b, "  fuel %s  memory %.1f MiB", count(u.Fuel), float64(u.MemoryBytes)/(1<<20))
		if u.ChangedBytes >= 0 {
			fmt.Fprintf(&b, ", %d KiB changed", u.ChangedBytes>>10)
		}
	}
	if t.User != "" {
		b.WriteString("  " + t.User)
	}
	b.WriteByte('\n')
	for _, e := range t.Events {
		switch d, x := e.Decision, e.Exchange; {
		case x != nil:
			outcome := "opened a stream"
			if x.Response != nil {
				outcome = fmt.Sprint(x.Response.Status)
			}
			if x.Err != nil {
				frame := capability.ErrorFrame(x.Err)
				outcome = fmt.Sprintf("%d by %s: %s", frame.Status, frame.Origin, frame.Message)
			}
			fmt.Fprintf(&b, "    %s %s  %s  %s\n", x.Request.Method, x.Request.URL, outcome, short(x.Took))
		case d.Call != nil:
			fmt.Fprintf(&b, "    policy: %s: %s\n", d.Call, verdict(d))
		case !d.Allow:
			fmt.Fprintf(&b, "    policy: %s: %s\n", d.Route.Action, verdict(d))
		}
	}
	if t.Status == 0 || t.Status >= http.StatusBadRequest {
		for _, line := range t.Advice(p.kinds) {
			b.WriteString("    > " + line + "\n")
		}
	}
	p.print(b.String())
}

func verdict(d *devhost.Decision) string {
	if d.Allow {
		return "allowed"
	}
	return "denied, " + d.Reason.Code
}

func short(d time.Duration) string {
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func count(n uint64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	if n < 10_000_000 {
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprintf("%dM", n/1_000_000)
}
