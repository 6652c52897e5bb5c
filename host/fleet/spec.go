package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-a3fb47d6/bulkhead/host"
	"github.com/seed-a3fb47d6/bulkhead/host/capability"
	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
	"github.com/seed-a3fb47d6/bulkhead/host/plugin"
)

// uploadSource begins the source of an uploaded module; its digest follows.
const uploadSource = "upload:"

// maxEarlier is how many versions a plugin can be rolled back to.
const maxEarlier = 4

// version is one version of a plugin with everything that it may do.
type version struct {
	Digest  string                        `json:"digest"`           // of the module
	Source  string                        `json:"source,omitempty"` // pinned reference; empty: the module is an upload
	Plugin  string                        `json:"plugin"`           // by its manifest
	Version string                        `json:"version"`          // likewise
	Grants  map[string][]capability.Grant `json:"grants,omitempty"`
	Config  json.RawMessage               `json:"config,omitempty"`
	Limits  plugin.Limits                 `json:"limits,omitzero"`
	Rollout plugin.Rollout                `json:"rollout,omitzero"`
	// Consent is the digest of the comparison that an administrator approved.
	Consent string      `json:"consent,omitempty"`
	By      host.UserID `json:"by"`
	At      time.Time   `json:"at"`
}

// config is v as an entry of the configuration. How a reference is fetched and verified
// is what this replica's configuration says now; the error is a *plugin.StepError if it
// allows the reference no more.
func (v *version) config(name string, allowed Packages) (plugin.Config, error) {
	c := plugin.Config{Name: name, Source: uploadSource + v.Digest, Digest: v.Digest, Grants: v.Grants, Config: v.Config, Limits: v.Limits, Rollout: v.Rollout}
	c.Rollout.Canary = nil // a canary is one of the description, and not of a version
	if v.Source == "" {
		return c, nil
	}
	c.Source = v.Source
	return c, Renew(&c, allowed)
}

// Renew makes the access and verification of a version those that this replica's
// configuration has now for its reference. The error is a *plugin.StepError if it
// allows the reference no more.
func Renew(c *plugin.Config, allowed Packages) error {
	if strings.HasPrefix(c.Source, uploadSource) {
		return nil
	}
	p, err := allowed.Package(c.Name, c.Source)
	if err != nil {
		return &plugin.StepError{Name: c.Name, Step: plugin.StepVerify, Err: err}
	}
	c.Source, c.Access, c.Verification = p.Source, p.Access, p.Verification
	return nil
}

// same reports whether other would run the same.
func (v *version) same(other *version) bool {
	a, b := *v, *other
	for _, x := range []*version{&a, &b} {
		x.Consent, x.By, x.At = "", "", time.Time{}
	}
	left, err1 := json.Marshal(a)
	right, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && bytes.Equal(left, right)
}

// spec is what should run under one name.
type spec struct {
	Serve   version   `json:"serve"`
	Canary  *canary   `json:"canary,omitempty"`
	Earlier []version `json:"earlier,omitempty"` // served before, the last one first
	// Because says why the host itself made the last change; empty if an administrator
	// did.
	Because string `json:"because,omitempty"`
}

type canary struct {
	version
	Rule plugin.Canary `json:"rule"`
}

func parse(text json.RawMessage) (*spec, error) {
	s := &spec{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("the description in the state store cannot be read: %w", err)
	}
	return s, nil
}

// uploads are the digests of the uploads that s needs, also to be rolled back.
func (s *spec) uploads() (list []string) {
	versions := append([]version{s.Serve}, s.Earlier...)
	if s.Canary != nil {
		versions = append(versions, s.Canary.version)
	}
	for _, v := range versions {
		if v.Source == "" && !slices.Contains(list, v.Digest) {
			list = append(list, v.Digest)
		}
	}
	return list
}

// serve makes v what serves everybody.
func (s *spec) serve(v version) {
	if !s.Serve.same(&v) && s.Serve.Digest != "" {
		s.Earlier = append([]version{s.Serve}, s.Earlier...)
	}
	s.Serve, s.Canary, s.Because = v, nil, ""
	s.Earlier = slices.DeleteFunc(s.Earlier, func(e version) bool { return e.same(&v) })
	s.Earlier = s.Earlier[:min(len(s.Earlier), maxEarlier)]
}

func (s *spec) promote() error {
	if s.Canary == nil {
		return host.E(host.Conflict, "", "there is no canary to promote")
	}
	s.serve(s.Canary.version)
	return nil
}

// rollBack drops the canary, or serves the earlier version of that digest; the last
// one if digest is empty.
func (s *spec) rollBack(digest string) error {
	if s.Canary != nil && (digest == "" || digest == s.Serve.Digest) {
		s.Canary, s.Because = nil, ""
		return nil
	}
	i := slices.IndexFunc(s.Earlier, func(v version) bool { return digest == "" || v.Digest == digest })
	switch {
	case i < 0 && digest == "":
		return host.E(host.Conflict, "", "no earlier version is known to roll back to")
	case i < 0:
		return host.E(host.NotFound, "", "digest: %s is none of the earlier versions, which are %s", digest, digests(s.Earlier))
	}
	to := s.Earlier[i]
	s.Earlier = append(slices.Clone(s.Earlier[:i]), s.Earlier[i+1:]...)
	// What was rolled back is kept as the last one, so that it can be tried again.
	s.serve(to)
	return nil
}

func digests(list []version) string {
	var out []string
	for _, v := range list {
		out = append(out, v.Version+" "+v.Digest)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// Uploaded reads modules that administrators uploaded; *state.Store does.
type Uploaded interface {
	ReadUpload(ctx context.Context, digest string, most int64) ([]byte, error)
}

// Fetch returns what fetches a plugin's module for a registry: from the store if it was
// uploaded, by other otherwise.
func Fetch(store Uploaded, other func(context.Context, *plugin.Config, int) ([]byte, error)) func(context.Context, *plugin.Config, int) ([]byte, error) {
	return func(ctx context.Context, c *plugin.Config, most int) ([]byte, error) {
		digest, uploaded := strings.CutPrefix(c.Source, uploadSource)
		if !uploaded {
			return other(ctx, c, most)
		}
		if digest != c.Digest {
			return nil, host.E(host.Invalid, "fleet", "source: %s and digest %s are of two modules", c.Source, c.Digest)
		}
		return store.ReadUpload(ctx, digest, int64(most))
	}
}

// maxEntry bounds the text of ParseEntry, in bytes.
const maxEntry = 256 << 10

// ParseEntry reads grants, config, limits and rollout of a plugin, written in YAML as
// in the configuration file, into q. given are those that the text has.
func ParseEntry(entry []byte, q *Request) (given []string, err error) {
	if len(entry) > maxEntry {
		return nil, host.E(host.TooLarge, "fleet", "the entry has %d bytes, and may have %d", len(entry), maxEntry)
	}
	var e struct {
		Grants  map[string][]capability.Grant `json:"grants"`
		Config  json.RawMessage               `json:"config"`
		Limits  *plugin.Limits                `json:"limits"`
		Rollout *plugin.Rollout               `json:"rollout"`
	}
	if err := strictyaml.Unmarshal(entry, &e, strictyaml.Small); err != nil {
		return nil, err
	}
	if e.Grants != nil {
		q.Grants, given = e.Grants, append(given, "grants")
	}
	if e.Config != nil {
		q.Config, given = e.Config, append(given, "config")
	}
	if e.Limits != nil {
		q.Limits, given = *e.Limits, append(given, "limits")
	}
	if e.Rollout != nil {
		q.Rollout, given = *e.Rollout, append(given, "rollout")
		q.Canary, q.Rollout.Canary = e.Rollout.Canary, nil
	}
	return given, nil
}
