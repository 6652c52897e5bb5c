package audit

import (
	"fmt"
	"strconv"
	"strings"
)

// mask erases parts of records.
type mask []pointer

type pointer struct {
	text  string
	steps []string
}

// mask returns the mask of c, or otherwise if c has none. c has passed Check.
func (c *Config) mask(otherwise []string) mask {
	list := otherwise
	if c.Mask != nil {
		list = *c.Mask
	}
	var m mask
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
		return pointer{}, fmt.Errorf("%q is not a JSON Pointer, such as /input/principal/claims", text)
	}
	steps := strings.Split(text[1:], "/")
	for i := range steps {
		steps[i] = unescape.Replace(steps[i])
	}
	return pointer{text, steps}, nil
}

// erase removes the values that m names from a record and returns the pointers to those
// that existed.
func (m mask) erase(record map[string]any) (erased []string) {
	for _, p := range m {
		if eraseAt(record, p.steps) {
			erased = append(erased, p.text)
		}
	}
	return erased
}

// eraseAt removes one value. An element of a list becomes null, so that the indexes of the
// others do not change.
func eraseAt(at any, steps []string) bool {
	last := len(steps) == 1
	switch v := at.(type) {
	case map[string]any:
		in, ok := v[steps[0]]
		if ok && last {
			delete(v, steps[0])
		}
		return ok && (last || eraseAt(in, steps[1:]))
	case []any:
		i, err := strconv.Atoi(steps[0])
		if err != nil || i < 0 || i >= len(v) {
			return false
		}
		if last {
			v[i] = nil
			return true
		}
		return eraseAt(v[i], steps[1:])
	}
	return false
}
