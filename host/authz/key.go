package authz

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"

	"github.com/seed-a3fb47d6/bulkhead/host"
)

// maxKey bounds a key of the cache, in bytes. Questions with longer keys are not cached.
const maxKey = 4 << 10

var keyBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

// appendKey appends the canonical form of everything on which the decision depends: equal
// keys mean equal inputs and equal policies. Every part has its length in front, so that
// the keys of different questions differ. Permissions, roles and teams are determined by
// the user, the asserted memberships, the user's version in the directory, and the parts
// that are matched. ok is false if the answer must not be cached.
func appendKey(b []byte, rev *published, d Directory, q *host.Question) ([]byte, bool) {
	if !rev.cacheable {
		return b, false
	}
	r := rev.reads
	b = binary.LittleEndian.AppendUint64(b, rev.number)
	b = appendText(b, string(q.Principal.User))
	b = appendBool(b, q.Principal.Unlisted)
	b = appendTexts(b, q.Principal.Asserted.Roles)
	b = appendTexts(b, q.Principal.Asserted.Teams)
	b = d.AppendVersion(b, q.Principal) // its length is determined by the parts above
	if r.directory {
		b = binary.LittleEndian.AppendUint64(b, d.Revision())
	}
	b = appendParts(b, r.route, q)
	b = appendMap(b, q.Route.Params, &r.params)
	b = appendMap(b, q.Resource, r.resourceOf(q))
	b = appendText(b, q.Reason)
	b = appendBool(b, q.Capability != nil)
	if q.Capability != nil {
		b = appendParts(b, r.capability, q)
	}
	ok := true
	if r.claims {
		b, ok = appendClaims(b, q.Principal.Claims)
	}
	if r.login {
		l := &q.Principal.Login
		b = appendText(b, string(l.ID))
		b = appendText(b, l.Method)
		b = binary.LittleEndian.AppendUint64(b, uint64(l.At.Unix()))
		b = binary.LittleEndian.AppendUint64(b, uint64(l.Until.Unix()))
	}
	return b, ok && len(b) <= maxKey
}

func appendParts(b []byte, parts []*part, q *host.Question) []byte {
	for _, p := range parts {
		if p.flag != nil {
			b = appendBool(b, p.flag(q))
		} else {
			b = appendText(b, p.text(q))
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendMap appends the members of m that are read. For members that are read by name it
// appends only the values, each after a flag whether it exists.
func appendMap[M ~map[string]string](b []byte, m M, read *members) []byte {
	if !read.all {
		for _, k := range read.names {
			v, ok := m[k]
			if b = appendBool(b, ok); ok {
				b = appendText(b, v)
			}
		}
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(m)))
	var few [8]string
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = appendText(b, k)
		b = appendText(b, m[k])
	}
	return b
}

// appendClaims uses the JSON encoder, which sorts keys. Claims that it cannot encode make
// the evaluation fail as well.
func appendClaims(b []byte, claims map[string]any) ([]byte, bool) {
	if len(claims) == 0 {
		return appendText(b, ""), true
	}
	data, err := json.Marshal(claims)
	return appendText(b, string(data)), err == nil
}
