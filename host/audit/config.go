package audit

import (
	"fmt"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Config defines the destinations of records. Without a destination they are not kept.
type Config struct {
	File *File `json:"file,omitempty"`
	// HTTP is a server that accepts gzipped JSON arrays of records, as OPA sends them
	// (openpolicyagent.org/docs/management-decision-logs).
	HTTP *Server `json:"http,omitempty"`
	// OTLP is a server that accepts OpenTelemetry logs; its URL usually ends in
	// /v1/logs.
	OTLP *Server `json:"otlp,omitempty"`
	// Syslog is a syslog server (RFC 5424).
	Syslog *Syslog `json:"syslog,omitempty"`
	// Fallback is the name of one of these destinations, such as "syslog". It gets only
	// the records that no other destination takes at the first attempt.
	Fallback string `json:"fallback,omitempty"`
	// Mask lists the values that are erased from each record, as JSON Pointers
	// (RFC 6901). By default these are /input/principal/claims and
	// /input/principal/login/id. A record lists its erased values as "erased".
	Mask *[]string `json:"mask,omitempty"`
	// Labels are added to each record.
	Labels map[string]string `json:"labels,omitempty"`
	// Queue is the number of records that may wait for each destination, at most
	// 1048576; 0 means 8192.
	Queue int `json:"queue,omitempty"`
	// WhenFull is what happens while one of the queues is full: "drop" (the default)
	// drops and counts that destination's records; "deny" also refuses changes, so
	// that no change lacks a record at any destination. Reads continue.
	WhenFull string `json:"whenFull,omitempty"`
}

// File is a file with one record per line. If path is not a regular file but a device, a
// pipe or a link (/dev/stdout), the host appends to it and never rotates it; maxMiB and
// keep are then refused.
type File struct {
	Path   string `json:"path"`             // its directory is created if absent
	MaxMiB int    `json:"maxMiB,omitempty"` // size at which the file is renamed to PATH.1 and a new one is begun; 0 means 100
	Keep   int    `json:"keep,omitempty"`   // number of renamed files that are kept; 0 means 5
}

// Server is a server to which records are posted.
type Server struct {
	URL       string `json:"url"`                 // complete, with its path
	TokenFile string `json:"tokenFile,omitempty"` // contains a bearer token; read for each request
	CAFile    string `json:"caFile,omitempty"`    // PEM; certificate authorities, instead of the system's
}

const (
	defaultQueue  = 8192
	defaultMaxMiB = 100
	defaultKeep   = 5
	maxQueue      = 1 << 20
)

// maxDestinations is the greatest number of destinations.
const maxDestinations = 4

// Enabled reports whether there is a destination.
func (c *Config) Enabled() bool {
	return c.File != nil || c.HTTP != nil || c.OTLP != nil || c.Syslog != nil
}

func (c *Config) queueSize() int {
	if c.Queue == 0 {
		return defaultQueue
	}
	return c.Queue
}

// Check adds every mistake in c that can be seen without opening anything to problems.
func (c *Config) Check(problems *config.Problems) {
	bad := func(is bool, field, format string, args ...any) {
		if is {
			problems.Add(field, format, args...)
		}
	}
	if f := c.File; f != nil {
		bad(f.Path == "", "file.path", "is missing")
		bad(f.MaxMiB < 0 || f.Keep < 0, "file", "maxMiB and keep must not be negative")
		if err := f.checkRotation(); f.Path != "" && err != nil {
			bad(true, "file.path", "%v", err)
		}
	}
	c.checkRemote(problems)
	bad(!c.Enabled() && (c.Mask != nil || c.Queue != 0 || c.WhenFull != "" || c.Labels != nil), "", "names no destination; add file, http, otlp or syslog")
	bad(c.WhenFull != "" && c.WhenFull != "drop" && c.WhenFull != "deny", "whenFull", "%q must be drop or deny", c.WhenFull)
	if c.Mask != nil {
		for i, p := range *c.Mask {
			_, err := parsePointer(p)
			bad(err != nil, fmt.Sprintf("mask[%d]", i), "%v", err)
		}
	}
}

// checkRemote checks what the decision log and the audit have in common.
func (c *Config) checkRemote(problems *config.Problems) {
	for field, server := range map[string]*Server{"http.url": c.HTTP, "otlp.url": c.OTLP} {
		if server == nil {
			continue
		}
		u, err := url.Parse(server.URL)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())) {
			problems.Add(field, "must be an https URL, or an http URL on loopback")
		}
		if err == nil && u.User != nil {
			problems.Add(field, "contains a password; use tokenFile")
		}
	}
	if c.Syslog != nil {
		c.Syslog.check(problems.At("syslog"))
	}
	if c.Queue < 0 || c.Queue > maxQueue {
		problems.Add("queue", "must be from 0 to %d", maxQueue)
	}
	has := map[string]bool{"file": c.File != nil, "http": c.HTTP != nil, "otlp": c.OTLP != nil, "syslog": c.Syslog != nil}
	if c.Fallback != "" && !has[c.Fallback] {
		problems.Add("fallback", "%q is not one of the destinations that are configured", c.Fallback)
	} else if c.Fallback != "" && c.count() == 1 {
		problems.Add("fallback", "%q is the only destination; a fallback needs another one", c.Fallback)
	}
}

// count returns the number of destinations.
func (c *Config) count() (n int) {
	for _, has := range []bool{c.File != nil, c.HTTP != nil, c.OTLP != nil, c.Syslog != nil} {
		if has {
			n++
		}
	}
	return n
}

// Paths returns the fields of c that name files.
func (c *Config) Paths() []*string {
	var list []*string
	if c.File != nil {
		list = append(list, &c.File.Path)
	}
	for _, server := range []*Server{c.HTTP, c.OTLP} {
		if server != nil {
			list = append(list, &server.TokenFile, &server.CAFile)
		}
	}
	if c.Syslog != nil {
		list = append(list, &c.Syslog.CAFile)
	}
	return list
}
