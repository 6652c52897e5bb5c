package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Digest returns a digest of values: SHA-256 of their JSON, in hexadecimal. Values
// with the same JSON have the same digest. It panics for what JSON cannot hold.
func Digest(values ...any) string {
	text, err := json.Marshal(values)
	if err != nil {
		panic(fmt.Sprintf("config: %v", err))
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Sections returns the digest of each key of the struct c that is set, by name.
func Sections(c any) map[string]string {
	out := map[string]string{}
	object, _ := tree(c).(map[string]any)
	for key, v := range object {
		out[key] = Digest(v)
	}
	return out
}

// Change is a difference between two configurations.
type Change struct {
	// Path is that of the field; elements of a list that have a name are shown by it,
	// as in "plugins[gitops].limits.timeout".
	Path string `json:"path"`
	// Old and New are the values as JSON, "" where the field is absent. Both are ""
	// for a value that is not shown.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// Difference returns the fields in which two structs of one type differ, sorted by
// path. Values at a path for which hide is true, and below it, are not shown; hide may
// be nil.
func Difference(from, to any, hide func(path string) bool) []Change {
	d := differ{hide: hide}
	d.compare("", tree(from), tree(to))
	slices.SortFunc(d.changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return d.changes
}

type differ struct {
	hide    func(string) bool
	changes []Change
}

func (d *differ) compare(path string, from, to any) {
	if path != "" && d.hide != nil && d.hide(path) {
		if text(from) != text(to) {
			d.changes = append(d.changes, Change{Path: path})
		}
		return
	}
	if a, ok := from.(map[string]any); ok {
		if b, ok := to.(map[string]any); ok {
			d.members(path, a, b, ".")
			return
		}
	}
	if a, ok := byName(from); ok {
		if b, ok := byName(to); ok {
			d.members(path, a, b, "[")
			if !slices.Equal(names(from), names(to)) && len(a) == len(b) && slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))) {
				d.changes = append(d.changes, Change{Path: path, Old: strings.Join(names(from), ", "), New: strings.Join(names(to), ", ")})
			}
			return
		}
	}
	if text(from) != text(to) {
		d.changes = append(d.changes, Change{path, text(d.shown(path, from)), text(d.shown(path, to))})
	}
}

func (d *differ) members(path string, from, to map[string]any, sep string) {
	keys := map[string]any{}
	maps.Copy(keys, from)
	maps.Copy(keys, to)
	for key := range keys {
		at := join(path, key)
		if sep == "[" {
			at = path + "[" + key + "]"
		}
		d.compare(at, from[key], to[key])
	}
}

// shown returns a value without what is not shown in it.
func (d *differ) shown(path string, v any) any {
	object, ok := v.(map[string]any)
	if !ok || d.hide == nil {
		return v
	}
	out := map[string]any{}
	for key, inner := range object {
		if at := join(path, key); d.hide(at) {
			out[key] = "…"
		} else {
			out[key] = d.shown(at, inner)
		}
	}
	return out
}

// byName returns the elements of a list of objects that have names of their own; an
// absent list has none.
func byName(v any) (map[string]any, bool) {
	if v == nil {
		return nil, true
	}
	list, ok := v.([]any)
	if !ok {
		return nil, false
	}
	out := map[string]any{}
	for i, name := range names(v) {
		if name == "" || out[name] != nil {
			return nil, false
		}
		out[name] = list[i]
	}
	return out, true
}

func names(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, e := range list {
		object, _ := e.(map[string]any)
		out[i], _ = object["name"].(string)
	}
	return out
}

// tree is v as JSON values.
func tree(v any) (out any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("config: %v", err))
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		panic(fmt.Sprintf("config: %v", err))
	}
	return out
}

// text is a JSON value, "" for none.
func text(v any) string {
	if v == nil {
		return ""
	}
	out, _ := json.Marshal(v)
	return string(out)
}
