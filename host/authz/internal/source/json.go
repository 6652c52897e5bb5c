package source

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/open-policy-agent/opa/v1/util"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/strictyaml"
)

// DecodeJSON decodes text, which must be one JSON value, as OPA does: numbers are
// json.Number. It skips a byte order mark. It refuses repeated keys, since parsers differ on
// which counts, and values over the limits of data. Errors have the line.
func DecodeJSON(text []byte, v any) error {
	text = strictyaml.TrimBOM(text)
	if len(text) > limits.Bytes {
		return fmt.Errorf("is over %d bytes", limits.Bytes)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	s := &scan{Decoder: d, text: text}
	if err := s.value(1); err != nil {
		return s.at(err)
	}
	if rest := text[d.InputOffset():]; len(bytes.TrimSpace(rest)) > 0 {
		at := len(text) - len(bytes.TrimLeft(rest, " \t\r\n"))
		return fmt.Errorf("line %d: something follows the JSON value", 1+bytes.Count(text[:at], []byte("\n")))
	}
	return util.NewJSONDecoder(bytes.NewReader(text)).Decode(v)
}

// scan checks one JSON text.
type scan struct {
	*json.Decoder
	text  []byte
	nodes int
}

// at adds the present line to err.
func (s *scan) at(err error) error {
	offset := s.InputOffset()
	if e, ok := err.(*json.SyntaxError); ok {
		offset = e.Offset
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(s.text[:min(max(offset-1, 0), int64(len(s.text)))], []byte("\n")), err)
}

func (s *scan) value(depth int) error {
	if s.nodes++; s.nodes > limits.Nodes || depth > limits.Depth {
		return fmt.Errorf("it holds over %d values, or is nested deeper than %d levels", limits.Nodes, limits.Depth)
	}
	token, err := s.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	keys := map[string]bool{}
	for s.More() {
		if delim == '{' {
			key, err := s.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string) // the decoder accepts only strings as keys
			if keys[name] {
				return fmt.Errorf("it has the key %q twice", name)
			}
			keys[name] = true
		}
		if err := s.value(depth + 1); err != nil {
			return err
		}
	}
	_, err = s.Token() // the end
	return err
}
