package jsonscan

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
)

// Decode is json.Unmarshal for answers of services, which are large and of which a plugin wants
// little: what no field takes is skipped without a look at it, so malformed JSON there is no
// error. sdk/docs/howto.md has what that saves in a sandbox, and
// BenchmarkJSON in sdk/conformance measures it. out is a pointer that is not nil.
func Decode(data []byte, out any) error {
	v := reflect.ValueOf(out)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return json.Unmarshal(data, out) // which says what is wrong
	}
	value := space(data)
	end, err := skip(value)
	if err != nil {
		return err
	}
	if err := over(value[end:]); err != nil {
		return err
	}
	return decode(value[:end], v.Elem())
}

// decode decodes one value, without space around it, into v, which can be set.
func decode(value []byte, v reflect.Value) error {
	t := v.Type()
	if value[0] == 'n' || custom(t) {
		return json.Unmarshal(value, v.Addr().Interface())
	}
	switch t.Kind() {
	case reflect.Struct:
		if p := planOf(t); value[0] == '{' && p != nil {
			return p.decode(value, v)
		}
	case reflect.Slice:
		if value[0] == '[' && t.Elem().Kind() != reflect.Uint8 {
			return decodeSlice(value, v)
		}
	case reflect.Map:
		if value[0] == '{' && t.Key().Kind() == reflect.String && !custom(t.Key()) {
			return decodeMap(value, v)
		}
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(t.Elem()))
		}
		return decode(value, v.Elem())
	case reflect.String:
		if plainText(value) && t != number {
			v.SetString(string(value[1 : len(value)-1]))
			return nil
		}
	case reflect.Bool:
		switch string(value) {
		case "true", "false":
			v.SetBool(value[0] == 't')
			return nil
		}
	case reflect.Int, reflect.Int64, reflect.Int32:
		if n, err := strconv.ParseInt(string(value), 10, t.Bits()); err == nil && value[0] != '+' && !leadingZero(value) {
			v.SetInt(n)
			return nil
		}
	}
	return json.Unmarshal(value, v.Addr().Interface())
}

var (
	number       = reflect.TypeFor[json.Number]()
	unmarshaler  = reflect.TypeFor[json.Unmarshaler]()
	textDecoding = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// custom reports whether a type decodes itself.
func custom(t reflect.Type) bool {
	if t.PkgPath() == "" && t.Kind() != reflect.Struct || t.Kind() == reflect.Interface {
		return false // it has no methods
	}
	v, ok := customs.Load(t)
	if !ok {
		p := reflect.PointerTo(t)
		v, _ = customs.LoadOrStore(t, p.Implements(unmarshaler) || p.Implements(textDecoding))
	}
	return v.(bool)
}

var customs, plans sync.Map // by reflect.Type; filled while the plugin starts, by sdk.WarmJSON

// plainText reports whether value is a string that stands for itself.
func plainText(value []byte) bool {
	if value[0] != '"' || len(value) < 2 {
		return false
	}
	for _, c := range value[1 : len(value)-1] {
		if c < ' ' || c >= 0x80 || c == '\\' {
			return false
		}
	}
	return true
}

func leadingZero(value []byte) bool {
	if value[0] == '-' {
		value = value[1:]
	}
	return len(value) > 1 && value[0] == '0'
}

func decodeSlice(value []byte, v reflect.Value) error {
	n, t := 0, v.Type()
	v.SetLen(0)
	err := Elements(value, func(element []byte) error {
		if n == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(n + 1)
		v.Index(n).SetZero()
		n++
		return decode(element, v.Index(n-1))
	})
	if n == 0 && err == nil {
		v.Set(reflect.MakeSlice(t, 0, 0))
	}
	return err
}

func decodeMap(value []byte, v reflect.Value) error {
	t := v.Type()
	if v.IsNil() {
		v.Set(reflect.MakeMap(t))
	}
	return Members(value, func(name string, member []byte) error {
		element := reflect.New(t.Elem()).Elem()
		if err := decode(member, element); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), element)
		return nil
	})
}

// plan is which fields of a struct take which members.
type plan struct {
	names  map[string]int // exact
	fields []string       // by index; "" takes nothing
}

// planOf returns nil for a struct that encoding/json must decode: with embedded structs, or
// options of fields that change how they are decoded.
func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan)
	}
	p := newPlan(t)
	plans.Store(t, p)
	return p
}

func newPlan(t reflect.Type) *plan {
	p := &plan{names: map[string]int{}, fields: make([]string, t.NumField())}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous, strings.Contains(options, "string"):
			return nil
		case !f.IsExported(), tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		if _, twice := p.names[name]; twice {
			return nil
		}
		p.names[name], p.fields[i] = i, name
	}
	return p
}

func (p *plan) decode(value []byte, v reflect.Value) error {
	return Members(value, func(name string, member []byte) error {
		i, ok := p.names[name]
		if !ok {
			if i = p.fold(name); i < 0 {
				return nil
			}
		}
		if err := decode(member, v.Field(i)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// fold returns the field whose name differs in case only, or -1.
func (p *plan) fold(name string) int {
	for i, f := range p.fields {
		if f != "" && strings.EqualFold(f, name) {
			return i
		}
	}
	return -1
}
