package abi

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Bounds of an event's name and id, in bytes.
const (
	MaxEventName = 64
	MaxEventID   = 1024
)

// EventData returns the data of a Message of the kind MessageEvent: an event with a name
// and an id, both of which may be empty. See SplitEvent for what the host accepts.
func EventData(name, id string, text []byte) []byte {
	b := make([]byte, 0, len(name)+len(id)+len(text)+2)
	b = append(append(b, name...), '\n')
	b = append(append(b, id...), '\n')
	return append(b, text...)
}

// SplitEvent splits what EventData has made. ok is false for data that the host refuses: a
// name other than up to 64 characters of a-z, 0-9, "_" and "-", the name "end", which is
// the host's own, an id other than up to 1024 printable ASCII characters, or a text that is
// not UTF-8. The text is a part of data.
func SplitEvent(data []byte) (name, id string, text []byte, ok bool) {
	first, rest, one := bytes.Cut(data, []byte("\n"))
	second, text, two := bytes.Cut(rest, []byte("\n"))
	if !one || !two || len(first) > MaxEventName || len(second) > MaxEventID || !utf8.Valid(text) {
		return "", "", nil, false
	}
	name, id = string(first), string(second)
	named := func(r rune) bool {
		return r != '_' && r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}
	if name == "end" || strings.ContainsFunc(name, named) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", "", nil, false
	}
	return name, id, text, true
}
