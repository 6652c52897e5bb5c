package strictyaml

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	strictjson "sigs.k8s.io/json"

	"github.com/seed-a3fb47d6/bulkhead/host/internal/text"
)

// JSON returns the one document of text as JSON, "null" if there is none.
func JSON(text []byte, l Limits) ([]byte, error) {
	v, err := Value(text, l)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// Unmarshal stores the one document of text in v by v's JSON tags. Errors name
// unknown fields by their path, and have the line of other errors.
func Unmarshal(text []byte, v any, l Limits) error {
	data, err := JSON(text, l)
	if err != nil {
		return err
	}
	mistakes, err := strictjson.UnmarshalStrict(data, v)
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return errors.Join(mistakes...)
}

// value returns n, which was measured, as a JSON value.
func value(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.AliasNode:
		return value(n.Alias)
	case yaml.SequenceNode:
		return sequence(n)
	case yaml.MappingNode:
		return mapping(n)
	}
	return scalar(n)
}

func sequence(n *yaml.Node) (any, error) {
	if tag := n.ShortTag(); tag != "!!seq" {
		return nil, &Error{n.Line, fmt.Sprintf("the tag %s cannot be used", tag)}
	}
	list := make([]any, len(n.Content))
	for i, c := range n.Content {
		v, err := value(c)
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return list, nil
}

func mapping(n *yaml.Node) (any, error) {
	if tag := n.ShortTag(); tag != "!!map" {
		return nil, &Error{n.Line, fmt.Sprintf("the tag %s cannot be used", tag)}
	}
	m := make(map[string]any, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merges = append(merges, n.Content[i+1])
			continue
		}
		k, err := key(n.Content[i])
		if err != nil {
			return nil, err
		}
		if m[k], err = value(n.Content[i+1]); err != nil {
			return nil, err
		}
	}
	for _, from := range merges {
		if err := merge(m, from); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// merge adds to m the members of n, the value of a key "<<", that m lacks.
func merge(m map[string]any, n *yaml.Node) error {
	from := n
	if n.Kind == yaml.AliasNode {
		from = n.Alias
	}
	switch from.Kind {
	case yaml.MappingNode:
		v, err := value(from)
		if err != nil {
			return err
		}
		for k, v := range v.(map[string]any) {
			if _, ok := m[k]; !ok {
				m[k] = v
			}
		}
		return nil
	case yaml.SequenceNode:
		if n.Kind == yaml.AliasNode {
			break // as in YAML's own definition: a list that is written here
		}
		for _, c := range from.Content {
			if c.Kind == yaml.SequenceNode || c.Kind == yaml.AliasNode && c.Alias.Kind == yaml.SequenceNode {
				return &Error{c.Line, `"<<" takes a mapping or a list of mappings`}
			}
			if err := merge(m, c); err != nil {
				return err
			}
		}
		return nil
	}
	return &Error{n.Line, `"<<" takes a mapping or a list of mappings`}
}

// unique returns an error if a mapping in n repeats a key.
func unique(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		seen := make(map[string]bool, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, err := key(n.Content[i])
			if err != nil {
				return err
			}
			if seen[k] {
				return &Error{n.Content[i].Line, fmt.Sprintf("has the key %q twice in a mapping", text.Short(k))}
			}
			seen[k] = true
		}
	}
	for _, c := range n.Content {
		if err := unique(c); err != nil {
			return err
		}
	}
	return nil
}

// key returns a mapping's key as the key of a JSON object.
func key(n *yaml.Node) (string, error) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.ScalarNode {
		return "", &Error{n.Line, "a key is a list or a mapping"}
	}
	v, err := scalar(n)
	if err != nil {
		return "", err
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case nil:
		return "", &Error{n.Line, "a key is null; put it in quotes"}
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	}
	return fmt.Sprint(v), nil
}

// booleans are the words for true and false of YAML 1.1 that are not in 1.2.
var booleans = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func scalar(n *yaml.Node) (any, error) {
	const marked = yaml.TaggedStyle | yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	plain := n.Style&marked == 0
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return nil, nil
	case "!!str", "!!timestamp", "!!merge":
		if b, ok := booleans[n.Value]; ok && plain {
			return b, nil
		}
		return n.Value, nil
	case "!!bool":
		var b bool
		if n.Decode(&b) != nil {
			return nil, &Error{n.Line, fmt.Sprintf("%q is neither true nor false", text.Short(n.Value))}
		}
		return b, nil
	case "!!int", "!!float":
		return number(n, plain)
	default:
		return nil, &Error{n.Line, fmt.Sprintf("the tag %s cannot be used", text.Short(tag))}
	}
}

func number(n *yaml.Node, plain bool) (any, error) {
	s := strings.ReplaceAll(n.Value, "_", "")
	digits := strings.TrimLeft(s, "+-")
	if strings.Trim(digits, "0123456789") == "" || len(digits) > 1 && digits[0] == '0' && strings.ContainsRune("xXoObB", rune(digits[1])) {
		if i, err := strconv.ParseInt(s, 0, 64); err == nil {
			if n.ShortTag() == "!!float" {
				return float64(i), nil
			}
			return i, nil
		}
		if u, err := strconv.ParseUint(s, 0, 64); err == nil {
			return u, nil
		}
		if plain && n.ShortTag() == "!!float" {
			// A leading zero makes 08 a decimal number, as it does for helm.
			if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1<<53 {
				return f, nil
			}
		}
		return nil, &Error{n.Line, fmt.Sprintf("%s is a number of more than 64 bits; put it in quotes", text.Short(n.Value))}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, &Error{n.Line, fmt.Sprintf("%s is not a number that JSON can hold; put it in quotes", text.Short(n.Value))}
	}
	return f, nil
}
