package audit

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/netaddr"
)

// Config says where records go. Without a destination they are not kept.
type Config struct {
	File *File `json:"file,omitempty"`
	// HTTP takes gzipped JSON arrays of records, as OPA sends them
	// (openpolicyagent.org/docs/management-decision-logs).
	HTTP *Server `json:"http,omitempty"`
	// OTLP takes OpenTelemetry logs; the URL ends in /v1/logs as a rule.
	OTLP *Server `json:"otlp,omitempty"`
	// Mask lists what is left out of each record, as JSON Pointers (RFC 6901)
	// into it. If it is not given, decisions lack /input/principal/claims and
	// /input/principal/login/id. A record lists what was left out as "erased".
	Mask *[]string `json:"mask,omitempty"`
	// Labels are added to each record.
	Labels map[string]string `json:"labels,omitempty"`
	// Queue is how many records may wait for each destination, up to 1048576;
	// 0 means 8192.
	Queue int `json:"queue,omitempty"`
	// WhenFull says what happens while one of the queues is full: "drop" (the
	// default) loses that destination's records and counts them; "deny" also
	// refuses whatever would change something, so that nothing changes without a
	// record everywhere. Reading goes on.
	WhenFull string `json:"whenFull,omitempty"`
}

// File is a file with one record a line. Anything at path but a regular file, as
// a device, a pipe or a link (/dev/stdout), is appended to and never rotated;
// maxMiB and keep are then refused.
type File struct {
	Path   string `json:"path"`             // its directory is made if need be
	MaxMiB int    `json:"maxMiB,omitempty"` // size at which it is renamed PATH.1 and a new one begun; 0 means 100
	Keep   int    `json:"keep,omitempty"`   // how many of those are kept; 0 means 5
}

// Server is where records are posted to.
type Server struct {
	URL       string `json:"url"`                 // the whole of it, path included
	TokenFile string `json:"tokenFile,omitempty"` // holds a bearer token; read each time
	CAFile    string `json:"caFile,omitempty"`    // PEM; the system's own authorities if empty
}

const (
	defaultQueue  = 8192
	defaultMaxMiB = 100
	defaultKeep   = 5
	maxQueue      = 1 << 20
)

// maxDestinations is how many there can be.
const maxDestinations = 3

// Enabled reports whether there is a destination.
func (c *Config) Enabled() bool { return c.File != nil || c.HTTP != nil || c.OTLP != nil }

func (c *Config) queueSize() int {
	if c.Queue == 0 {
		return defaultQueue
	}
	return c.Queue
}

// Check reports every mistake in c that can be seen without opening anything.
// Each error begins with at, the path of c in the configuration, and the field.
func (c *Config) Check(at string) error {
	var errs []error
	bad := func(is bool, field, format string, args ...any) {
		if is {
			errs = append(errs, fmt.Errorf("%s%s: %s", at, field, fmt.Sprintf(format, args...)))
		}
	}
	if f := c.File; f != nil {
		bad(f.Path == "", ".file.path", "is missing")
		bad(f.MaxMiB < 0 || f.Keep < 0, ".file", "maxMiB and keep must not be negative")
		if err := f.checkRotation(); f.Path != "" && err != nil {
			bad(true, ".file.path", "%v", err)
		}
	}
	for field, server := range map[string]*Server{".http.url": c.HTTP, ".otlp.url": c.OTLP} {
		if server == nil {
			continue
		}
		u, err := url.Parse(server.URL)
		bad(err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && netaddr.IsLoopback(u.Hostname())),
			field, "is not an https URL, or http on loopback")
		bad(err == nil && u.User != nil, field, "contains a password; use tokenFile")
	}
	bad(!c.Enabled() && (c.Mask != nil || c.Queue != 0 || c.WhenFull != "" || c.Labels != nil), "", "names no destination; add file, http or otlp")
	bad(c.Queue < 0 || c.Queue > maxQueue, ".queue", "is not within 0 to %d", maxQueue)
	bad(c.WhenFull != "" && c.WhenFull != "drop" && c.WhenFull != "deny", ".whenFull", "%q is neither drop nor deny", c.WhenFull)
	if c.Mask != nil {
		for i, p := range *c.Mask {
			_, err := parsePointer(p)
			bad(err != nil, fmt.Sprintf(".mask[%d]", i), "%v", err)
		}
	}
	return errors.Join(errs...)
}

// Paths returns the places in c that hold paths of files.
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
	return list
}
