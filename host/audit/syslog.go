package audit

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host/config"
)

// Syslog is a syslog server. Each record is one message of RFC 5424 whose text is the
// record as JSON.
type Syslog struct {
	// URL is udp://HOST:PORT (RFC 5426), tcp://HOST:PORT (RFC 6587, with the length before
	// each message), tls://HOST:PORT (RFC 5425), or unix:///PATH for a datagram socket such
	// as /dev/log. UDP does not tell whether a message arrives, so it alone does not allow
	// an effect.
	URL    string `json:"url"`
	CAFile string `json:"caFile,omitempty"` // PEM; certificate authorities, instead of the system's; for tls
	// Facility is from 0 to 23 (RFC 5424, table 1); absent, it is 13, log audit.
	Facility *int `json:"facility,omitempty"`
}

const (
	auditFacility = 13
	notice        = 5     // severity of every record
	maxDatagram   = 60000 // bytes of a message; UDP carries 65,507
	dialTimeout   = 10 * time.Second
)

func (c *Syslog) check(problems *config.Problems) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		problems.Add("url", "must be udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH")
	case u.Scheme == "unix":
		if u.Host != "" || u.Path == "" {
			problems.Add("url", "must name a socket, such as unix:///dev/log")
		}
	case u.Scheme != "udp" && u.Scheme != "tcp" && u.Scheme != "tls" || u.Hostname() == "" || u.Port() == "" || u.Path != "":
		problems.Add("url", "must be udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH")
	}
	if c.CAFile != "" && (err != nil || u.Scheme != "tls") {
		problems.Add("caFile", "is for tls:// alone")
	}
	if f := c.Facility; f != nil && (*f < 0 || *f > 23) {
		problems.Add("facility", "must be from 0 to 23")
	}
}

// syslog sends records to a server. One goroutine uses it.
type syslog struct {
	scheme, address string
	tls             *tls.Config
	prefix, suffix  string // around the time
	name            string // of the host
	conn            net.Conn
}

func openSyslog(c *Syslog, stream *Stream) (*syslog, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, config.At("url", err)
	}
	s := &syslog{scheme: u.Scheme, address: cmp.Or(u.Path, u.Host)}
	if u.Scheme == "tls" {
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		if c.CAFile != "" {
			text, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, config.At("caFile", err)
			}
			s.tls.RootCAs = x509.NewCertPool()
			if !s.tls.RootCAs.AppendCertsFromPEM(text) {
				return nil, config.At("caFile", fmt.Errorf("%s: contains no certificate in PEM form", c.CAFile))
			}
		}
	}
	facility := auditFacility
	if c.Facility != nil {
		facility = *c.Facility
	}
	name, err := os.Hostname()
	if err != nil || name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }) {
		name = "-"
	}
	// <PRI>VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG
	s.prefix = fmt.Sprintf("<%d>1 ", facility*8+notice)
	s.suffix = fmt.Sprintf(" %.255s bulkhead %d %.32s - ", name, os.Getpid(), stream.Event)
	return s, nil
}

// stamp is the form of a time in RFC 5424: at most microseconds.
const stamp = "2006-01-02T15:04:05.000000Z07:00"

func (s *syslog) message(record map[string]any) ([]byte, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	at := time.Now()
	for _, key := range []string{"time", "timestamp"} {
		if told, _ := record[key].(string); told != "" {
			if parsed, err := time.Parse(time.RFC3339Nano, told); err == nil {
				at = parsed
			}
		}
	}
	return fmt.Appendf(nil, "%s%s%s%s", s.prefix, at.UTC().Format(stamp), s.suffix, text), nil
}

func (s *syslog) Write(ctx context.Context, records []map[string]any) error {
	var stream bytes.Buffer
	var packets [][]byte
	for _, r := range records {
		m, err := s.message(r)
		switch {
		case err != nil:
			return &refused{records: len(records), whole: true, err: err}
		case s.datagrams() && len(m) > maxDatagram:
			return &refused{records: len(records), whole: true, err: fmt.Errorf("a record has %d bytes, and a datagram at most %d", len(m), maxDatagram)}
		case s.datagrams():
			packets = append(packets, m)
		default:
			fmt.Fprintf(&stream, "%d ", len(m))
			stream.Write(m)
		}
	}
	if err := s.dial(ctx); err != nil {
		return err
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(dialTimeout))
	if !s.datagrams() {
		packets = [][]byte{stream.Bytes()}
	}
	for _, p := range packets {
		if _, err := s.conn.Write(p); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return nil
}

func (s *syslog) datagrams() bool { return s.scheme == "udp" || s.scheme == "unix" }

// dial connects, unless there is a connection that its server has not closed.
func (s *syslog) dial(ctx context.Context) (err error) {
	if s.conn != nil && (s.datagrams() || connected(s.conn)) {
		return nil
	}
	_ = s.Close()
	d := &net.Dialer{Timeout: dialTimeout}
	switch s.scheme {
	case "tls":
		s.conn, err = (&tls.Dialer{NetDialer: d, Config: s.tls}).DialContext(ctx, "tcp", s.address)
	case "unix":
		s.conn, err = d.DialContext(ctx, "unixgram", s.address)
	default:
		s.conn, err = d.DialContext(ctx, s.scheme, s.address)
	}
	if err != nil {
		s.conn = nil
	}
	return err
}

// connected reports whether the server has not closed the connection. It sends nothing, so a
// Read that does not time out at once has found the end.
func connected(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	timeout, ok := errors.AsType[net.Error](err)
	return err == nil || ok && timeout.Timeout()
}

func (s *syslog) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

func (s *syslog) profile() profile { return profile{unconfirmed: s.scheme == "udp"} }

func scheme(address string) string {
	s, _, _ := strings.Cut(address, ":")
	return s
}
