package decisionlog

import (
	"fmt"
	"strconv"
	"strings"
)

// Mask erases parts of records.
type Mask []pointer

type pointer struct {
	text  string
	steps []string
}

// Mask is what c leaves out. c has passed Check.
func (c *Config) Pointers() Mask {
	list := defaultMask
	if c.Mask != nil {
		list = *c.Mask
	}
	var m Mask
	for _, text := range list {
		if p, err := parsePointer(text); err == nil {
			m = append(m, p)
		}
	}
	return m
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

func parsePointer(text string) (pointer, error) {
	if !strings.HasPrefix(text, "/") || len(text) < 2 {
		return pointer{}, fmt.Errorf("%q is not a JSON Pointer such as /input/principal/claims", text)
	}
	steps := strings.Split(text[1:], "/")
	for i := range steps {
		steps[i] = unescape.Replace(steps[i])
	}
	return pointer{text, steps}, nil
}

// Erase removes what m names from a record and returns what was there of it.
func (m Mask) Erase(record map[string]any) (erased []string) {
	for _, p := range m {
		if erase(record, p.steps) {
			erased = append(erased, p.text)
		}
	}
	return erased
}

// erase removes one value. An element of a list becomes null, so that the others
// keep their places.
func erase(at any, steps []string) bool {
	last := len(steps) == 1
	switch v := at.(type) {
	case map[string]any:
		in, ok := v[steps[0]]
		if ok && last {
			delete(v, steps[0])
		}
		return ok && (last || erase(in, steps[1:]))
	case []any:
		i, err := strconv.Atoi(steps[0])
		if err != nil || i < 0 || i >= len(v) {
			return false
		}
		if last {
			v[i] = nil
			return true
		}
		return erase(v[i], steps[1:])
	}
	return false
}
