// Package jsonscan finds the parts of a JSON text without decoding them, so that a large list
// can be decoded one object at a time.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"errors"
)

var (
	errMalformed = errors.New("malformed JSON")
	errDeep      = errors.New("JSON is nested too deeply")
)

// maxDepth is that of encoding/json.
const maxDepth = 10_000

// Members calls each with the name and the text of every member of the object in data, until
// it returns an error. The texts are parts of data; whether a text is valid JSON is for its
// decoder to say, and Members checks only what separates them.
func Members(data []byte, each func(name string, value []byte) error) error {
	return walk(data, '{', '}', func(rest []byte) ([]byte, error) {
		end, err := skip(rest)
		if err != nil || rest[0] != '"' {
			return nil, errMalformed
		}
		name, err := text(rest[:end])
		if err != nil {
			return nil, err
		}
		rest = space(rest[end:])
		if len(rest) == 0 || rest[0] != ':' {
			return nil, errMalformed
		}
		rest = space(rest[1:])
		if end, err = skip(rest); err != nil {
			return nil, err
		}
		return rest[end:], each(name, rest[:end])
	})
}

// Elements calls each with the text of every element of the array in data, as Members does.
// null has no elements.
func Elements(data []byte, each func(value []byte) error) error {
	if string(bytes.TrimSpace(data)) == "null" {
		return nil
	}
	return walk(data, '[', ']', func(rest []byte) ([]byte, error) {
		end, err := skip(rest)
		if err != nil {
			return nil, err
		}
		return rest[end:], each(rest[:end])
	})
}

// walk calls one at the beginning of each part between open and end; it returns what follows
// the part.
func walk(data []byte, open, end byte, one func(rest []byte) ([]byte, error)) (err error) {
	rest := space(data)
	if len(rest) == 0 || rest[0] != open {
		return errMalformed
	}
	if rest = space(rest[1:]); len(rest) > 0 && rest[0] == end {
		return over(rest[1:])
	}
	for {
		if rest, err = one(rest); err != nil {
			return err
		}
		if rest = space(rest); len(rest) == 0 {
			return errMalformed
		}
		switch rest[0] {
		case end:
			return over(rest[1:])
		case ',':
			rest = space(rest[1:])
		default:
			return errMalformed
		}
	}
}

// over checks that nothing follows.
func over(rest []byte) error {
	if len(space(rest)) > 0 {
		return errMalformed
	}
	return nil
}

// skip returns the length of the value that data begins with.
func skip(data []byte) (int, error) {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '"':
			n := quoted(data[i:])
			if n < 0 {
				return 0, errMalformed
			}
			if i += n - 1; depth == 0 {
				return i + 1, nil
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return 0, errDeep
			}
		case '}', ']':
			if depth--; depth < 0 {
				return 0, errMalformed
			}
			if depth == 0 {
				return i + 1, nil
			}
		default:
			if depth == 0 {
				if n := plain(data[i:]); n > 0 {
					return i + n, nil
				}
				return 0, errMalformed
			}
		}
	}
	return 0, errMalformed
}

// quoted returns the length of the string that data begins with, -1 if it has no end.
func quoted(data []byte) int {
	for i := 1; ; i++ {
		n := bytes.IndexByte(data[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		slashes := 0
		for data[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
}

// plain returns the length of the number, true, false or null that data begins with.
func plain(data []byte) int {
	for i, c := range data {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' && c != '+' && c != '.' && c != 'E' {
			return i
		}
	}
	return len(data)
}

func space(data []byte) []byte {
	for len(data) > 0 && (data[0] == ' ' || data[0] == '\n' || data[0] == '\t' || data[0] == '\r') {
		data = data[1:]
	}
	return data
}

// text decodes a member's name.
func text(quoted []byte) (string, error) {
	if plainText(quoted) {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	err := json.Unmarshal(quoted, &s)
	return s, err
}
