package config

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// schema is the part of JSON Schema (draft 2020-12) that a configuration uses.
type schema struct {
	Ref         string             `json:"$ref"`
	Defs        map[string]*schema `json:"$defs"`
	Type        string             `json:"type"`
	Description string             `json:"description"`
	Properties  properties         `json:"properties"`
	Required    []string           `json:"required"`
	Items       *schema            `json:"items"`
	Values      json.RawMessage    `json:"additionalProperties"` // a schema, or false
	AnyOf       []*schema          `json:"anyOf"`
	Enum        []string           `json:"enum"`
}

// UnmarshalJSON takes the schema "true" too, which allows anything.
func (s *schema) UnmarshalJSON(data []byte) error {
	if string(data) == "true" {
		return nil
	}
	type plain schema
	return json.Unmarshal(data, (*plain)(s))
}

// properties keeps the order of the file, which is that of the Go fields.
type properties []property

type property struct {
	name string
	of   *schema
}

func (p *properties) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if _, err := d.Token(); err != nil { // {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		one := property{name: name.(string), of: &schema{}}
		if err := d.Decode(one.of); err != nil {
			return err
		}
		*p = append(*p, one)
	}
	return nil
}

// Reference writes every key that the JSON Schema text describes as Markdown, a
// section per object, in the order of the schema. An error is one of writing, or
// of a schema that is not one.
func Reference(w io.Writer, text []byte) error {
	var root schema
	if err := json.Unmarshal(text, &root); err != nil {
		return fmt.Errorf("the schema: %w", err)
	}
	r := &reference{defs: root.Defs, out: &strings.Builder{}}
	r.section("", r.resolve(&root))
	_, err := io.WriteString(w, r.out.String())
	return err
}

type reference struct {
	defs map[string]*schema
	out  *strings.Builder
}

func (r *reference) resolve(s *schema) *schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		return r.defs[name]
	}
	return s
}

// section writes the keys of one object, then the sections of the objects in it.
func (r *reference) section(path string, s *schema) {
	if path != "" {
		fmt.Fprintf(r.out, "\n## `%s`\n\n", path)
	}
	fmt.Fprint(r.out, "| key | type | meaning |\n|---|---|---|\n")
	type inner struct {
		path string
		of   *schema
	}
	var sections []inner
	for _, p := range s.Properties {
		kind, in, suffix := r.kind(p.of)
		meaning := cmp.Or(p.of.Description, r.resolve(p.of).Description)
		if slices.Contains(s.Required, p.name) {
			meaning = strings.TrimSpace("Required. " + meaning)
		}
		fmt.Fprintf(r.out, "| `%s` | %s | %s |\n", p.name, kind, strings.ReplaceAll(oneLine(meaning), "|", `\|`))
		if in != nil {
			sections = append(sections, inner{strings.TrimPrefix(path+"."+p.name+suffix, "."), in})
		}
	}
	for _, i := range sections {
		r.section(i.path, i.of)
	}
}

// kind returns the words for a value, and for one that holds objects the object
// and how its path goes on.
func (r *reference) kind(of *schema) (words string, object *schema, suffix string) {
	s := r.resolve(of)
	var values schema
	switch {
	case len(s.AnyOf) > 0:
		var all []string
		for _, one := range s.AnyOf {
			w, in, more := r.kind(one)
			all = append(all, w)
			if in != nil {
				object, suffix = in, more
			}
		}
		return strings.Join(all, " or "), object, suffix
	case s.Type == "array" && s.Items != nil:
		words, object, suffix = r.kind(s.Items)
		return "list of " + plural(words), object, "[]" + suffix
	case s.Type == "object" && len(s.Properties) > 0:
		return "object", s, ""
	case s.Type == "object" && json.Unmarshal(s.Values, &values) == nil && (values.Type != "" || values.Ref != ""):
		words, object, suffix = r.kind(&values)
		return "map of " + plural(words), object, ".NAME" + suffix
	case s.Type == "object":
		return "object", nil, ""
	case len(s.Enum) > 0:
		return "`" + strings.Join(s.Enum, "`, `") + "`", nil, ""
	case s.Type == "":
		return "any", nil, ""
	case s.Description != "" && s != of: // a type of its own, such as a duration
		return oneLine(s.Description), nil, ""
	}
	return s.Type, nil, ""
}

func plural(words string) string {
	first, rest, more := strings.Cut(words, " ")
	if strings.HasSuffix(first, "y") || first == "any" || strings.HasSuffix(first, "`") {
		return words
	}
	if more {
		return first + "s " + rest
	}
	return first + "s"
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
